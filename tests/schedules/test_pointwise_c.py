from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax

import tvm_kp
from tvm_kp import graph

SIZES = (1, 2, 3, 4, 5, 7, 16, 118)
# What the cell of an LSTM with 118 units may cost.
INSTRUCTIONS = {"mps2-an386": 58 * 118, "mps3-an547": 2300}

op = relax.op


def test_functions(module, assert_same_as_vm):
    def build(emit, x, y):
        size = emit(op.add(op.abs(x), relax.const(0.5)))
        unary = [op.exp, op.tanh, op.sigmoid, op.sin, op.cos, op.floor, op.ceil, op.round]
        unary += [op.negative, op.sign, op.erf, op.nn.relu, op.nn.gelu, op.nn.silu, op.square]
        positive = [op.log, op.sqrt, op.rsqrt]
        binary = [op.add, op.subtract, op.multiply, op.maximum, op.minimum]
        results = [f(x) for f in unary] + [f(size) for f in positive]
        results += [f(x, y) for f in binary] + [op.divide(x, size), op.power(size, y)]
        results += [op.clip(x, -1, 1), op.where(op.less(x, y), x, y), op.nn.leakyrelu(x, 0.1)]
        return [emit(result) for result in results]

    assert_same_as_vm(module(build, (3, 5), (3, 5)))


def test_chains_are_one_loop(module, kernels):
    def build(emit, x, y):
        kept = emit(op.tanh(emit(op.add(x, y))))
        return [emit(op.multiply(kept, emit(op.subtract(kept, x))))]

    (text,) = kernels(module(build, (1, 9), (1, 9)), "mps2-an386").values()
    assert text.count("for ") == 1 and text.count("tanh") == 1


def test_constants_of_every_shape(module, assert_same_as_vm):
    row = relax.const(np.linspace(-1, 1, 5, dtype="float32"))
    column = relax.const(np.linspace(2, 3, 3, dtype="float32").reshape(3, 1))

    def build(emit, x):
        return [emit(op.add(op.multiply(x, row), column)), emit(op.subtract(row, x))]

    assert_same_as_vm(module(build, (3, 5)))


@pytest.mark.parametrize("size", SIZES)
def test_the_cell_of_an_integer_lstm_is_exact(size, integer_lstm, model_of):
    mod, inputs, expected = integer_lstm(size)
    legal = graph.ExpandScan()(graph.legalize()(mod))
    vm = relax.VirtualMachine(relax.build(legal, "llvm"), tvm.cpu())
    found = {"vm": [x.numpy() for x in vm["main"](*map(tvm.runtime.tensor, inputs.values()))]}
    boards = ("mps2-an386", "mps3-an547") + (("mps2-an385",) if size == 5 else ())
    for target in ("host", *boards):
        record = {name: x[None] for name, x in inputs.items()}
        outputs = tvm_kp.run(model_of(mod, target), target, record).outputs
        found[target] = [x[0] for x in outputs.values()]
    for target, results in found.items():
        for result, wanted in zip(results, expected, strict=True):
            np.testing.assert_array_equal(result, wanted, strict=True, err_msg=target)


@pytest.mark.parametrize("target", INSTRUCTIONS)
def test_the_cell_of_an_integer_lstm_is_quick(target, integer_lstm, model_of):
    mod, inputs, _ = integer_lstm(118)
    record = {name: x[None] for name, x in inputs.items()}
    result = tvm_kp.run(model_of(mod, target), target, record, profile=True)
    (cell,) = result.operators
    assert cell.count / cell.calls <= INSTRUCTIONS[target]
