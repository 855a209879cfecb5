"""Vectors of integers on an emulated Cortex-M55 hold what numpy, and C without vectors, say."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
from tvm import relax

import tvm_kp
from tvm_kp import fixedpoint, graph
from tvm_kp.fixedpoint import Multiplier
from tvm_kp.graph import integer_operators

op = relax.op
BOARD = "mps3-an547"
SHAPES = [(3,), (4,), (1, 7), (3, 5), (2, 3, 4), (118,)]
SHIFTED, SMALL, POWER = Multiplier.of(5.3), Multiplier.of(2.0**-20 * 1.7), Multiplier.of(2.0**-9)


def rows(shape):
    factors = np.random.default_rng(1).uniform(2.0**-18, 2.0**-16, shape[-1])
    return Multiplier.of(factors)


def module(build, *arrays):
    """``main(x0, x1, …)`` returns ``build(emit, x0, x1, …)``."""
    params = [
        relax.Var(f"x{k}", relax.TensorType(x.shape, str(x.dtype))) for k, x in enumerate(arrays)
    ]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        with builder.dataflow():
            output = builder.emit_output(relax.Tuple(build(builder.emit, *params)))
        builder.emit_func_output(output)
    return builder.get()


def inputs(shape):
    """int32, int16 and int8 of ``shape`` with the ends of their ranges, and one number."""
    random = np.random.default_rng(sum(shape))
    arrays = []
    for bits in (32, 16, 8):
        low, high = fixedpoint.limits(bits)
        x = random.integers(low, high + 1, shape)
        x.flat[: min(3, x.size)] = [low, high, -1][: x.size]
        arrays.append(x.astype(f"int{bits}"))
    return [*arrays, np.array([-9], "int32")]


def operators(emit, x, y, z, number):
    shape = [int(size) for size in x.ty.shape]
    y32, z32 = (emit(op.astype(v, "int32")) for v in (y, z))
    product = emit(op.multiply(y32, z32))
    narrow = emit(op.astype(product, "int8"))
    five = relax.const(5, "int32")
    again = emit(op.add(emit(op.astype(emit(op.astype(product, "int16")), "int32")), five))
    requantize = integer_operators.requantize
    shifted = emit(requantize(x, SHIFTED, 16))
    results = [product, narrow, again, shifted]
    results += [op.subtract(y32, five), op.subtract(five, y32), op.multiply(y32, five)]
    results += [op.maximum(y32, z32), op.minimum(y32, z32), op.multiply(z32, number)]
    results += [requantize(x, SMALL, 8), requantize(x, POWER, 32), requantize(x, rows(shape), 16)]
    results += [integer_operators.tanh(y, 12), integer_operators.sigmoid(shifted, 12, 11)]
    return [emit(result) for result in results]


def expected(x, y, z, number):
    y32, z32 = y.astype("int32"), z.astype("int32")
    product = y32 * z32
    again = product.astype("int16").astype("int32") + 5
    shifted = fixedpoint.requantize(x, SHIFTED, 16)
    results = [product, product.astype("int8"), again, shifted.astype("int16")]
    results += [y32 - 5, 5 - y32, y32 * 5, np.maximum(y32, z32), np.minimum(y32, z32)]
    results += [z32 * number, fixedpoint.requantize(x, SMALL, 8).astype("int8")]
    results += [fixedpoint.requantize(x, POWER, 32)]
    results += [fixedpoint.requantize(x, rows(x.shape), 16).astype("int16")]
    results += [fixedpoint.tanh(y, 12).astype("int16")]
    return [*results, fixedpoint.sigmoid(shifted, 12, 11).astype("int16")]


def run(model, target, arrays):
    record = {f"x{k}": array[None] for k, array in enumerate(arrays)}
    return [value[0] for value in tvm_kp.run(model, target, record).outputs.values()]


def functions(model):
    """The bodies of the functions of a model, without the helpers."""
    text = model.sources["m_lib1.c"]
    return [part.split("\n}\n")[0] for part in re.split(r"\nvoid \w+\(.*\) {\n", text)[1:]]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_operator_is_exact(shape, model_of):
    arrays = inputs(shape)
    mod = module(operators, *arrays)
    vm = relax.VirtualMachine(relax.build(graph.legalize()(mod), "llvm"), tvm.cpu())
    found = [[x.numpy() for x in vm["main"](*map(tvm.runtime.tensor, arrays))]]
    for target in ("host", BOARD):
        model = model_of(mod, target)
        found.append(run(model, target, arrays))
    bodies = functions(model)  # of the board
    rows_apart = sum(size > 1 for size in shape) > 1  # so the factor of every column is no vector
    assert sum("vstr" in b for b in bodies) == (np.prod(shape) >= 4) * (len(bodies) - rows_apart)
    for results in found:
        for result, wanted in zip(results, expected(*arrays), strict=True):
            np.testing.assert_array_equal(result, wanted, strict=True)


def test_a_value_that_is_stored_and_read_is_read_from_a_register(integer_lstm, model_of):
    (body,) = functions(model_of(integer_lstm(16)[0], BOARD))
    assert body.count("vldr") == 5 and body.count("vstr") == 2 and body.count("for ") == 1


def test_what_is_left_is_a_loop_of_its_own(integer_lstm, model_of):
    (body,) = functions(model_of(integer_lstm(118)[0], BOARD))
    assert re.findall(r"< (\d+);", body) == ["29", "2"]
    assert "if (" not in body


@pytest.mark.parametrize(
    "build",
    [
        lambda emit, x, y: [emit(op.add(x, y))],  # a row for every row
        lambda emit, x, y: [emit(op.abs(x))],
        lambda emit, x, y: [emit(op.astype(x, "float32"))],
        lambda emit, x, y: [emit(op.add(op.astype(x, "int64"), relax.const(1, "int64")))],
    ],
    ids=["broadcast", "unknown", "float", "wide"],
)
def test_left_to_other_rules(build, model_of):
    arrays = [np.arange(24, dtype="int32").reshape(4, 6) - 12, np.arange(6, dtype="int32")]
    mod = module(build, *arrays)
    model = model_of(mod, BOARD)
    assert not any("vldr" in body for body in functions(model))
    vm = relax.VirtualMachine(relax.build(graph.legalize()(mod), "llvm"), tvm.cpu())
    (wanted,) = [x.numpy() for x in vm["main"](*map(tvm.runtime.tensor, arrays))]
    np.testing.assert_array_equal(run(model, BOARD, arrays)[0], wanted, strict=True)
