"""The integer forms of point-wise operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.errors import ModelError
from tvm_kp.graph.quantization.values import Arithmetic, Quantized

Form = Callable[[Arithmetic, relax.Call, list[Quantized]], Quantized]


def _relu(to: Arithmetic, _call: relax.Call, args: list[Quantized]) -> Quantized:
    return to.maximum(args[0], to.constant(np.zeros(())))


def _clip(to: Arithmetic, call: relax.Call, args: list[Quantized]) -> Quantized:
    low, high = (to.constant(np.array(float(end.value))) for end in call.args[1:])
    return to.minimum(to.maximum(args[0], low), high)


def _leaky_relu(to: Arithmetic, call: relax.Call, args: list[Quantized]) -> Quantized:
    zero, slope = to.constant(np.zeros(())), to.constant(np.array(float(call.attrs.alpha)))
    below = to.multiply(to.minimum(args[0], zero), slope)
    return to.add(to.maximum(args[0], zero), below)


def _power(to: Arithmetic, call: relax.Call, args: list[Quantized]) -> Quantized:
    exponent = call.args[1].value.numpy() if isinstance(call.args[1], GenericConst) else None
    if exponent is None or exponent.size != 1 or float(exponent) not in (2.0, 3.0):
        raise ModelError(
            "relax.power has an integer form for the constant exponents 2 and 3 only; leave it to "
            "the code around the model"
        )
    x = args[0]
    squared = to.multiply(x, x)
    return squared if float(exponent) == 2.0 else to.multiply(squared, x)


# By name; operands are narrow or int32, their scales powers of two.
POINTWISE: dict[str, Form] = {
    "relax.add": lambda to, _, args: to.add(*args),
    "relax.subtract": lambda to, _, args: to.subtract(*args),
    "relax.multiply": lambda to, _, args: to.multiply(*args),
    "relax.negative": lambda to, _, args: to.negative(*args),
    "relax.maximum": lambda to, _, args: to.maximum(*args),
    "relax.minimum": lambda to, _, args: to.minimum(*args),
    "relax.abs": lambda to, _, args: to.maximum(args[0], to.negative(args[0])),
    "relax.square": lambda to, _, args: to.multiply(args[0], args[0]),
    "relax.power": _power,
    "relax.nn.relu": _relu,
    "relax.nn.leakyrelu": _leaky_relu,
    "relax.clip": _clip,
}
