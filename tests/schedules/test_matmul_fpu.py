"""Outer products of floats in registers: what numpy says, in few instructions on a Cortex-M4."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

M4 = "mps2-an386"
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


@settings(max_examples=4)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_every_way_is_what_numpy_says(float_products, some_way, data, seed):
    """On the board, and in the C that compilers for other cores see."""
    products = float_products(M4)
    several = products.some(data, 12, constant=st.booleans())
    with some_way(seed):
        products.check(several, products.model(several))
        products.check(several, products.model(several, "host"))


def test_special_values_go_through(float_products):
    float_products(M4).check_special_values()


BARS = {
    "dense": (((1, 128), (128, 472), "right", (1, 472)), 1.125),
    "a factor on the left": (((1, 17, 4), (20, 17), "left"), 1.16),
    "a wide factor on the left": (((1, 15, 12), (48, 15), "left"), 1.21),
    "factors on the right": (((1, 4, 2, 8), (4, 8, 59), "right", (4, 2, 59)), 1.29),
    "two inputs": (((1, 64), (64, 25), "right", None, False, False), 1.32),
}


@pytest.mark.parametrize("name", BARS)
def test_a_multiply_accumulate_costs_little_more_than_itself(float_products, name):
    """Instructions, without those of the harness around one inference."""
    case, bar = BARS[name]
    products = float_products(M4)
    one = products.case(*case)
    macs = one.expected().size * one.arrays()[0].shape[-2 if one.side == "left" else -1]
    assert products.check([one], products.model([one])) <= bar * macs
