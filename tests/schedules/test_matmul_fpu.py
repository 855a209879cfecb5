from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

op = relax.op


def weights(*shape: int):
    values = np.random.default_rng(len(shape)).uniform(-1, 1, shape) / shape[-2]
    return relax.const(values.astype("float32"))


AFTER = {
    "nothing": lambda y: y,
    "bias": lambda y: op.add(y, weights(1, 19)),
    "relu": op.nn.relu,
    "bias and relu": lambda y: op.nn.relu(op.add(y, weights(1, 19))),
    "tanh": op.tanh,
    "sigmoid": op.sigmoid,
    "negative": op.negative,
    "maximum": lambda y: op.maximum(y, weights(1, 19)),
    "difference": lambda y: op.subtract(y, weights(1, 19)),
    "half": lambda y: op.multiply(y, relax.const(0.5)),
    "square": lambda y: op.multiply(y, y),
    "softmax": lambda y: op.nn.softmax(op.add(y, weights(1, 19)), axis=-1),
}


def test_what_follows_a_product_is_applied_once(module, assert_same_as_vm):
    """Not to every partial sum."""

    def build(emit, x):
        return [emit(after(emit(op.matmul(x, weights(23, 19))))) for after in AFTER.values()]

    assert_same_as_vm(module(build, (1, 23)))


def test_what_follows_reads_the_input_of_the_product_again(module, assert_same_as_vm):
    def build(emit, x):
        product = emit(op.add(emit(op.matmul(x, weights(19, 19))), weights(1, 19)))
        return [emit(op.subtract(x, emit(op.tanh(product))))]

    assert_same_as_vm(module(build, (1, 19)))


def test_factors_by_block(module, assert_same_as_vm):
    """Both orders of A·X·Bᵀ for four gates, as factorizing gives them."""

    def build(emit, x):
        a_first = emit(op.matmul(weights(8, 16), emit(op.reshape(x, (1, 16, 8)))))
        held = emit(op.reshape(a_first, (1, 4, 2, 8)))
        b_first = emit(op.matmul(emit(op.reshape(x, (1, 1, 16, 8))), weights(4, 8, 5)))
        return [
            emit(op.matmul(held, weights(4, 8, 59))),
            emit(op.matmul(weights(4, 3, 16), b_first)),
        ]

    assert_same_as_vm(module(build, (1, 128)))


@pytest.mark.parametrize("columns", [1, 7, 8, 16, 59])
def test_results_are_summed_in_registers(module, kernels, columns):
    mod = module(lambda emit, x: [emit(op.matmul(x, weights(40, columns)))], (1, 40))
    (text,) = kernels(mod, "mps2-an386").values()
    assert "alloc_local" in text
    assert "kp_load" in text


def test_a_product_of_two_inputs(module, assert_same_as_vm):
    build = [lambda emit, x, y: [emit(op.matmul(x, y))]]
    assert_same_as_vm(module(*build, (3, 11), (11, 9)))
