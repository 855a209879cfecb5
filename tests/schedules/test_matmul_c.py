"""Products of integers: sums in int32 that end in a requantization, exact in C everywhere."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_kp import board, fixedpoint, graph
from tvm_kp.fixedpoint import Multiplier
from tvm_kp.graph import integer_operators
from tvm_kp.kernel.schedule import schedule
from tvm_kp.target import Target

TARGETS = ("host", "mps2-an386", "mps2-an500", "mps3-an547", "mps2-an385")
SHAPES = [(1, 1, 1), (1, 5, 3), (3, 17, 6), (8, 16, 12), (1, 128, 47)]


def product(shape, bits, seed):
    """A module of x·W + b requantized to int16, an input and what numpy says of it."""
    rows, depth, columns = shape
    random = np.random.default_rng(seed)
    low, high = fixedpoint.limits(bits)
    x = random.integers(low, high + 1, (rows, depth)).astype(f"int{bits}")
    x[0] = low
    w = random.integers(-127, 128, (depth, columns)).astype("int8")
    w[:, 0] = -127
    bias = random.integers(-(2**20), 2**20, columns).astype("int32")
    multiplier = Multiplier.of(2.0 ** random.uniform(-10, -4, columns) * 2.0 ** (8 - bits))
    param = relax.Var("x", relax.TensorType(x.shape, str(x.dtype)))
    builder = relax.BlockBuilder()
    with builder.function("main", [param]):
        with builder.dataflow():
            total = builder.emit(relax.op.matmul(param, relax.const(w), out_dtype="int32"))
            total = builder.emit(relax.op.add(total, relax.const(bias)))
            result = builder.emit(integer_operators.requantize(total, multiplier, 16))
            output = builder.emit_output(relax.Tuple([result]))
        builder.emit_func_output(output)
    expected = fixedpoint.requantize(x.astype("int32") @ w.astype("int32") + bias, multiplier, 16)
    return builder.get(), x, expected.astype("int16")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shape", SHAPES)
def test_integer_products_are_exact(shape, bits, model_of):
    mod, x, expected = product(shape, bits, sum(shape))
    vm = relax.VirtualMachine(relax.build(graph.legalize()(mod), target="llvm"), tvm.cpu())
    (found,) = vm["main"](tvm.runtime.tensor(x))
    np.testing.assert_array_equal(found.numpy(), expected, strict=True)
    for target in TARGETS:
        result = board.run(model_of(mod, target), Target.load(target), {"x": x[None]})
        (found,) = result.outputs.values()
        np.testing.assert_array_equal(found[0], expected, strict=True)


@pytest.mark.parametrize("target", ["host", "mps2-an386"])
def test_an_integer_product_is_one_function_with_its_sums_in_registers(target):
    mod, _, _ = product((1, 128, 47), 8, 0)
    functions = schedule(graph.legalize()(mod), Target.load(target).isa)
    (text,) = [function.script() for function in functions.values()]
    assert "kp_multiply_high" in text
    assert "float" not in text and "T.alloc_buffer" not in text
    kept = re.findall(r"alloc_local\(\((\d+),\)", text)
    assert kept and max(map(int, kept)) <= 4
