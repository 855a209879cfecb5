"""Dot products of integers: exact, in few instructions on a Cortex-M55."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_kp import board
from tvm_kp.target import Target

M55 = "mps3-an547"


@pytest.fixture(scope="session")
def m55(products):
    return products(M55)


@settings(max_examples=3)
@given(data=st.data())
def test_products_are_what_numpy_says(model_of, m55, data):
    several = m55.some(data, 16)
    for target in ("host", M55):
        m55.check(several, model_of(m55.module(several), target))
    m55.check(several, m55.portable(several))


def test_large_products_are_what_numpy_says(model_of, m55):
    m55.check(m55.large, model_of(m55.module(m55.large), M55))
    m55.check(m55.large, m55.portable(m55.large))


@settings(max_examples=6)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_every_way_is_exact(model_of, m55, some_way, tmp_path_factory, data, seed):
    several = [*m55.some(data, 12), *m55.large]
    with some_way(seed):
        m55.check(several, model_of(m55.module(several), M55))
        m55.check(several, m55.portable(several))
        m55.assert_inside(several, tmp_path_factory.mktemp("inside"))


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("depth", [5, 16])
def test_activations_may_lie_at_any_address(model_of, m55, dtype, columns, depth):
    one = m55.case((3 * columns, depth), (depth, 6), 1, dtype)
    model = model_of(m55.of_rows(one, columns, columns), M55)
    (result,) = board.run(model, Target.load(M55), {"x0": one.x[None]}).outputs.values()
    np.testing.assert_array_equal(result[0], one.expected()[columns : 2 * columns])


BARS = {
    "dense int8": 10_100,
    "dense int16": 17_200,
    "dense with biases": 17_800,
    "factored": 4_000,
    "factored gates": 2_700,
}


@pytest.mark.parametrize("name", BARS)
def test_few_instructions_are_executed(model_of, m55, name):
    several = m55.workloads[name]
    assert m55.check(several, model_of(m55.module(several), M55)) <= BARS[name]


def test_activations_are_copied_if_they_are_apart_and_many(m55):
    def kernel(x, weights, side):
        (function,) = m55.kernels([m55.case(x, weights, side)]).values()
        return len(function.params), function.script()

    params, script = kernel((1, 16), (16, 472), 1)
    assert params == 3 and "kp_dots472x1_8x1_16x8_2x1_none_number_x16_kept_" in script
    params, script = kernel((16, 3), (472, 16), 0)
    assert params == 3 and "_number_x16_kept_gathered_1_3_out16_3_1" in script
    params, script = kernel((17, 3), (472, 17), 0)
    assert params == 4 and "kp_columns16x8" in script and "_x16_padded_24_1_" in script


def test_numbers_that_are_far_apart_are_left_to_other_rules(m55):
    (function,) = m55.kernels([m55.case((2, 9_500), (3, 2), 0)]).values()
    assert "kp_product2x2_1w_1_13_none_one_16" in function.script()


@settings(max_examples=2)
@given(data=st.data())
def test_kernels_stay_inside_their_operands(m55, tmp_path_factory, data):
    m55.assert_inside(m55.some(data, 24), tmp_path_factory.mktemp("inside"))


def test_large_kernels_stay_inside_their_operands(m55, tmp_path):
    m55.assert_inside(m55.large, tmp_path)
