"""The integer operators are numpy's, bit for bit: on the VM, in C here and on the boards."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

import tvm_kp
from tvm_kp import fixedpoint, graph
from tvm_kp.fixedpoint import Multiplier
from tvm_kp.graph import integer_operators as ops

BOARDS = ("mps2-an386", "mps2-an500", "mps3-an547", "mps2-an385")
COUNT = 500
EXTREMES = [-(2**31), 2**31 - 1, -(2**31) + 1, -1, 0, 1, 2**15, -(2**15) - 1]
BITS = (8, 16)


def inputs(random):
    """Floats, int32 and int16, (1, COUNT) each, extreme values in front."""
    floats = random.standard_normal(COUNT) * 10.0 ** random.integers(-3, 4, COUNT)
    floats[:6] = [np.inf, -np.inf, np.nan, 0, -0.0, 3e38]
    wide = random.integers(-(2**31), 2**31, COUNT) >> random.integers(0, 31, COUNT)
    wide[: len(EXTREMES)] = EXTREMES
    narrow = random.integers(-(2**15), 2**15, COUNT)
    narrow[:4] = [-(2**15), 2**15 - 1, 0, -1]
    dtypes = ("float32", "int32", "int16")
    values = (floats, wide, narrow)
    return [v.astype(dtype)[None] for v, dtype in zip(values, dtypes, strict=True)]


def operators(random):
    """[(index of the input, operator in Relax, the same in numpy, bits of the result)]."""
    result = []
    for bits in BITS:
        scale = float(10.0 ** random.uniform(-3, 1))
        scalar = Multiplier.of(2.0 ** random.uniform(-24, 8))
        rows = Multiplier.of(2.0 ** random.uniform(-8, 1, COUNT))
        result += [
            (0, lambda x, s=scale, b=bits: ops.quantize(x, s, b),
             lambda x, s=scale, b=bits: fixedpoint.quantize(x, s, b), bits),
            *[
                (1, lambda x, m=m, b=bits: ops.requantize(x, m, b),
                 lambda x, m=m, b=bits: fixedpoint.requantize(x, m, b), bits)
                for m in (scalar, rows)
            ],
        ]  # fmt: skip
        result.append(
            (1, lambda x, m=scalar: ops.requantize(x, m, 32),
             lambda x, m=scalar: fixedpoint.requantize(x, m, 32), 32)
        )  # fmt: skip
    for name, fractions in (("tanh", range(12, 16)), ("sigmoid", range(11, 15))):
        fraction = int(random.choice(fractions))
        to = int(random.integers(8, 16))
        result.append(
            (2, lambda x, n=name, f=fraction, t=to: getattr(ops, n)(x, f, t),
             lambda x, n=name, f=fraction, t=to: getattr(fixedpoint, n)(x, f, t), 16)
        )  # fmt: skip
    scale = float(2.0 ** random.uniform(-15, -5))
    powers = Multiplier.of(scale * np.log2(np.e) * 2**fixedpoint.EXP_FRACTION)
    result.append((2, lambda x: ops.softmax(x, scale), lambda x: fixedpoint.softmax(x, powers), 16))
    return result


def module(operators, arrays):
    params = [
        relax.Var(name, relax.TensorType(x.shape, str(x.dtype)))
        for name, x in zip(("floats", "wide", "narrow"), arrays, strict=True)
    ]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        with builder.dataflow():
            results = [builder.emit(make(params[k])) for k, make, _, _ in operators]
            output = builder.emit_output(relax.Tuple(results))
        builder.emit_func_output(output)
    return builder.get()


@pytest.fixture(scope="module", params=range(4))
def case(request):
    random = np.random.default_rng(request.param)
    chosen, arrays = operators(random), inputs(random)
    expected = [reference(arrays[k]).astype(f"int{bits}") for k, _, reference, bits in chosen]
    return module(chosen, arrays), arrays, expected


def test_the_vm_computes_what_numpy_says(case, on_vm):
    mod, arrays, expected = case
    for found, values in zip(on_vm(graph.legalize()(mod), *arrays), expected, strict=True):
        np.testing.assert_array_equal(found, values, strict=True)


@pytest.mark.parametrize("target", ["host", *BOARDS])
def test_the_c_computes_what_numpy_says(case, target, model_of):
    mod, arrays, expected = case
    model = model_of(mod, target)
    result = tvm_kp.run(model, target, dict(zip(("floats", "wide", "narrow"), arrays, strict=True)))
    for found, values in zip(result.outputs.values(), expected, strict=True):
        np.testing.assert_array_equal(found[0], values, strict=True)


@pytest.mark.parametrize("target", ["host", "mps2-an386", "mps3-an547", "mps2-an385"])
def test_every_int16_is_inside_of_the_table(target, model_of):
    x = np.arange(-(2**15), 2**15, dtype="int16")[None]
    param = relax.Var("x", relax.TensorType(x.shape, "int16"))
    builder = relax.BlockBuilder()
    with builder.function("main", [param]):
        with builder.dataflow():
            both = [builder.emit(ops.tanh(param, 12)), builder.emit(ops.sigmoid(param, 11))]
            output = builder.emit_output(relax.Tuple(both))
        builder.emit_func_output(output)
    result = tvm_kp.run(model_of(builder.get(), target), target, {"x": x[None]})
    expected = [fixedpoint.tanh(x, 12), fixedpoint.sigmoid(x, 11)]
    for found, values in zip(result.outputs.values(), expected, strict=True):
        np.testing.assert_array_equal(found[0], values.astype("int16"), strict=True)
