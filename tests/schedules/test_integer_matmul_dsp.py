"""Products of packed integers: exact on every core, in few instructions on a Cortex-M4."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_kp import board
from tvm_kp.target import Target

M4, LLVM = "mps2-an386", "llvm -mcpu=cortex-m4"
BOARDS = ["host", M4, "mps2-an500"]


@pytest.fixture(scope="session")
def m4(products):
    return products(M4)


@settings(max_examples=3)
@given(data=st.data())
def test_products_are_what_numpy_says(model_of, m4, data):
    several = m4.some(data, 16)
    for target in ("host", M4):
        m4.check(several, model_of(m4.module(several), target))
    m4.check(several, m4.portable(several))


@pytest.mark.parametrize("target", BOARDS)
def test_large_products_are_what_numpy_says(model_of, m4, target):
    m4.check(m4.large, model_of(m4.module(m4.large), target))


@settings(max_examples=4)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_every_way_is_exact(model_of, m4, some_way, tmp_path_factory, data, seed):
    several = [*m4.some(data, 12), *m4.large]
    with some_way(seed):
        for target in (M4, LLVM):
            m4.check(several, model_of(m4.module(several), target))
        m4.check(several, m4.portable(several))
        m4.assert_inside(several, tmp_path_factory.mktemp("inside"))


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("columns", [1, 2])
def test_activations_may_lie_at_any_address(model_of, m4, dtype, columns):
    one = m4.case((3 * columns, 5), (5, 6), 1, dtype)
    model = model_of(m4.of_rows(one, columns, columns), M4)
    (result,) = board.run(model, Target.load(M4), {"x0": one.x[None]}).outputs.values()
    np.testing.assert_array_equal(result[0], one.expected()[columns : 2 * columns])


BARS = {
    "dense int8": 71_000,
    "dense int16": 71_000,
    "dense with biases": 75_000,
    "factored": 9_800,
    "factored gates": 8_000,
}


@pytest.mark.parametrize("name", BARS)
def test_few_instructions_are_executed(model_of, m4, name):
    several = m4.workloads[name]
    assert m4.check(several, model_of(m4.module(several), M4)) <= BARS[name]


def test_weights_are_widened_once_for_several_columns(m4):
    (function,) = m4.kernels([m4.case((10, 20), (24, 10), 0)]).values()
    assert re.search(r"for row in range\(12\):\s+T.call_extern\(.*\"kp_widen\"", function.script())
    (function,) = m4.kernels([m4.case((1, 20), (20, 8), 1)]).values()
    text = function.script()
    assert "kp_widen" not in text and "kp_product4x1_10_1_13_none_one_16" in text


def test_equal_packed_weights_are_stored_once(model_of, m4):
    one = m4.case((1, 7), (7, 5), 1)
    assert model_of(m4.module([one, one]), M4).constants_bytes == 8 * 8


@settings(max_examples=2)
@given(data=st.data())
def test_kernels_stay_inside_their_operands(m4, tmp_path_factory, data):
    m4.assert_inside(m4.some(data, 24), tmp_path_factory.mktemp("inside"))


def test_large_kernels_stay_inside_their_operands(m4, tmp_path):
    m4.assert_inside(m4.large, tmp_path)
