"""The operators of quantized models that Relax lacks; ``fixedpoint`` says what they compute.

- ``kp.quantize(x)``: float32 -> int8 or int16, ``fixedpoint.quantize``.
- ``kp.requantize(x, factor)``: int32 -> int8 or int16, ``fixedpoint.requantize``; ``factor`` is
  a constant, int32, that broadcasts to ``x``.
- ``kp.interpolate(x, table)``: tanh or the sigmoid of int16, as int16.
- ``kp.softmax(x, factor)``: int16 -> int16, ``fixedpoint.softmax`` along the last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import e, log2
from typing import Any

import tvm
from tvm import relax, te, tirx

from tvm_kp import fixedpoint
from tvm_kp.fixedpoint import Multiplier
from tvm_kp.graph import integer_matmul
from tvm_kp.graph.integer_arithmetic import (
    Legalize,
    bits_of,
    broadcast,
    immediate,
    interpolated,
    requantized,
)
from tvm_kp.graph.register import register

_TYPES = {8: "int8", 16: "int16", 32: "int32"}


def quantize(x: relax.Expr, scale: float, bits: int) -> relax.Call:
    """float32 -> integers of ``bits`` (8 or 16) that stand for ``scale`` times themselves."""
    return _call("kp.quantize", [x], scale=float(scale), dtype=_TYPES[bits])


def requantize(x: relax.Expr, multiplier: Multiplier, bits: int) -> relax.Call:
    """int32 times ``multiplier``, rounded, and saturated to ``bits`` where these are 8 or 16."""
    factor = relax.const(multiplier.factor, "int32")
    return _call("kp.requantize", [x, factor], left=multiplier.left, dtype=_TYPES[bits])


def tanh(x: relax.Expr, fraction: int, result_fraction: int = 15) -> relax.Call:
    """tanh of int16 with ``fraction`` bits, at least 12: all of int16 is inside of the table."""
    return _interpolate(x, fixedpoint.tanh_interpolation(fraction, result_fraction))


def sigmoid(x: relax.Expr, fraction: int, result_fraction: int = 15) -> relax.Call:
    """The sigmoid of int16 with ``fraction`` bits, at least 11."""
    return _interpolate(x, fixedpoint.sigmoid_interpolation(fraction, result_fraction))


def _interpolate(x: relax.Expr, form: fixedpoint.Interpolation) -> relax.Call:
    attributes = {"between": form.between, "offset": form.offset, "shift": form.shift}
    return _call("kp.interpolate", [x, _tanh_table()], **attributes, dtype="int16")


@cache
def _tanh_table() -> relax.Constant:
    """One tensor for all, so that a function that reads it twice has it once as an argument."""
    return relax.const(fixedpoint.tanh_table())


def softmax(x: relax.Expr, scale: float) -> relax.Call:
    """softmax along the last axis of int16 that stand for ``scale`` times themselves."""
    multiplier = Multiplier.of(scale * log2(e) * 2**fixedpoint.EXP_FRACTION)
    factor = relax.const(multiplier.factor, "int32")
    return _call("kp.softmax", [x, factor], left=multiplier.left, dtype="int16")


def legalizations() -> dict[str, Legalize]:
    """For ``relax.transform.LegalizeOps``: the operators as loops."""
    return {
        "kp.quantize": _legal(_quantize),
        "kp.requantize": _legal(_requantize),
        "kp.interpolate": _legal(_table),
        "kp.softmax": _legal(_softmax),
        integer_matmul.OP_NAME: integer_matmul.legalize,
    }


def _quantize(attrs: Any, x: te.Tensor) -> te.Tensor:
    dtype = str(attrs["dtype"])
    low, high = (tirx.const(float(end), "float32") for end in fixedpoint.limits(bits_of(dtype)))
    inverse = tirx.const(1 / float(attrs["scale"]), "float32")

    def element(*index: tirx.Var) -> tirx.Expr:
        scaled = x(*index) * inverse
        # What is not a number fails the first comparison.
        inside = tirx.Select(scaled > low, tirx.Select(scaled < high, scaled, high), low)
        half = tirx.Select(inside < 0, tirx.const(-0.5, "float32"), tirx.const(0.5, "float32"))
        return (inside + half).astype("int32").astype(dtype)

    return te.compute(x.shape, element, name="quantize")


def _requantize(attrs: Any, x: te.Tensor, factor: te.Tensor | tirx.Expr) -> te.Tensor:
    dtype, left = str(attrs["dtype"]), int(attrs["left"])

    def element(*index: tirx.Var) -> tirx.Expr:
        return requantized(x(*index), broadcast(factor, index), left, dtype)

    return te.compute(x.shape, element, name="requantize")


def _table(attrs: Any, x: te.Tensor, table: te.Tensor) -> te.Tensor:
    between, offset, shift = (int(attrs[name]) for name in ("between", "offset", "shift"))

    def element(*index: tirx.Var) -> tirx.Expr:
        value = x(*index).astype("int32")
        return interpolated(table, value, between, offset, shift).astype("int16")

    return te.compute(x.shape, element, name="interpolate")


def _softmax(attrs: Any, x: te.Tensor, factor: tirx.Expr) -> te.Tensor:
    *lead, size = x.shape
    axes = [te.reduce_axis((0, size), "k") for _ in range(2)]

    def largest(*at: tirx.Var) -> tirx.Expr:
        return te.max(x(*at, axes[0]), axis=axes[0])

    top = te.compute(lead, largest, name="largest")

    def term(*at: tirx.Var) -> tirx.Expr:
        below = top(*at[:-1]).astype("int32") - x(*at).astype("int32")
        return _exp2_negative(requantized(below, factor, int(attrs["left"]), "int32"))

    terms = te.compute(x.shape, term, name="terms")
    total = te.compute(lead, lambda *at: te.sum(terms(*at, axes[1]), axis=axes[1]), name="total")

    def share(*at: tirx.Var) -> tirx.Expr:
        whole = total(*at[:-1])
        rounded = tirx.truncdiv(terms(*at) * 32768 + (whole >> 1), whole)
        return tirx.min(rounded, tirx.const(32767, "int32")).astype("int16")

    return te.compute(x.shape, share, name="softmax")


def _exp2_negative(t: tirx.Expr) -> tirx.Expr:
    bits = fixedpoint.EXP_FRACTION
    f = (t & ((1 << bits) - 1)) * (1 << (15 - bits))
    value, *rest = (tirx.const(c, "int32") for c in reversed(fixedpoint.EXP_POLYNOMIAL))
    for coefficient in rest:
        value = coefficient + ((f * value + (1 << 14)) >> 15)
    return value >> tirx.min(t >> bits, tirx.const(31, "int32"))


def _legal(function: Callable[..., te.Tensor]) -> Legalize:
    def legalize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        args = [immediate(arg) for arg in call.args]
        return builder.call_te(
            lambda *tensors: function(call.attrs, *tensors),
            *args,
            primfunc_name_hint=call.op.name.removeprefix("kp."),
        )

    return legalize


def _call(name: str, args: list[relax.Expr], **attributes: Any) -> relax.Call:
    return relax.Call(tvm.ir.Op.get(name), args, tvm.ir.make_node("ir.DictAttrs", **attributes))


def _infer_type(call: relax.Call, _builder: relax.BlockBuilder) -> relax.TensorType:
    return relax.TensorType(call.args[0].ty.shape, str(call.attrs["dtype"]))


register("kp.quantize", "Floats to integers of a scale.", _infer_type)
register("kp.requantize", "Sums to integers of another scale.", _infer_type)
register("kp.softmax", "softmax of integers along the last axis.", _infer_type)
register("kp.interpolate", "A function from a table, linear between its entries.", _infer_type)
