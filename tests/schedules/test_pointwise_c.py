from __future__ import annotations

import numpy as np
from tvm import relax

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
