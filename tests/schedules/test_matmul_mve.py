"""Outer products of floats in vectors: what numpy says, in few instructions on a Cortex-M55."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_kp import graph
from tvm_kp.kernel.schedule import schedule
from tvm_kp.kernel.space import Choose
from tvm_kp.target import Target

M55 = "mps3-an547"


@settings(max_examples=3)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_every_way_is_what_numpy_says(float_products, some_way, data, seed):
    """On the board, and in the C that compilers for other cores see."""
    products = float_products(M55)
    several = products.some(data, 12)
    with some_way(seed):
        products.check(several, products.model(several))
    products.check(several, products.model(several, "host"))


SHORT = [
    ((4, 12, 7), (4, 7, 15)),
    ((11, 4), (4, 14), "right", (11, 14)),
    ((2, 5), (5, 8), "right", (8,), True),
    ((9, 3), (3, 21), "right", (9, 21)),
    ((12, 12), (12, 15), "right", (15,)),
    ((7, 14), (14, 133), "right", (7, 133)),
    ((2, 6, 10), (13, 6), "left", (13, 10)),
    ((8, 1), (1, 4)),
    ((9, 10), (10, 3), "right", (9, 3)),
    ((3, 7, 6), (3, 6, 1), "right", (3, 7, 1)),
    ((2, 3, 5, 4), (3, 4, 9), "right", (2, 3, 5, 9)),
]


def test_vectors_may_stay_in_registers(float_products, monkeypatch):
    monkeypatch.setattr("tvm_kp.kernel.mve_tiles._fitting", lambda _product: ())
    products = float_products(M55)
    several = [products.case(*case) for case in SHORT]
    for target in ("", "host"):
        model = products.model(several, target)
        assert "kp_stationary_8x1x4_none" in "".join(model.sources.values())
        products.check(several, model)


class Longest(Choose):
    """Has as few loops as there may be."""

    def _choose(self, name, options, default):
        return options[-1] if name == "straight" else default


def test_loops_may_be_longer_than_their_instruction_goes_back(float_products, monkeypatch):
    monkeypatch.setattr("tvm_kp.kernel.schedule.Choose", Longest)
    products = float_products(M55)
    several = [products.case((3, 56, 11), (33, 56), "left")]
    model = products.model(several)
    assert "bne 3b" in "".join(model.sources.values())
    products.check(several, model)


def test_special_values_go_through(float_products):
    float_products(M55).check_special_values()


BARS = {
    "dense": (((1, 128), (128, 472), "right", (1, 472)), 31_700),
    "a factor on the left": (((1, 17, 4), (20, 17), "left"), 500),
    "factors on the right": (((1, 4, 2, 8), (4, 8, 59), "right", (4, 2, 59)), 1_900),
    "sums without a loop": (((1, 16, 8), (8, 16), "left"), 415),
    "short sums": (((1, 2, 11, 4), (2, 4, 14), "right", (2, 11, 14)), 680),
    "few columns": (((1, 16, 3), (21, 16), "left"), 510),
}


@pytest.mark.parametrize("name", BARS)
def test_few_instructions_are_executed(float_products, name):
    case, bar = BARS[name]
    products = float_products(M55)
    several = [products.case(*case)]
    assert products.check(several, products.model(several)) <= bar


@pytest.mark.parametrize(
    "case",
    [
        ((3, 5), (5, 1)),
        ((5, 4), (3, 5), "left"),
        ((5, 3), (3, 5), "left"),
        ((3, 5), (5, 8), "right", (3, 1)),
    ],
)
def test_few_columns_and_any_bias_are_taken_too(module, kernels, float_products, case):
    one = float_products(M55).case(*case)
    mod = module(lambda emit, x: [one.emit(emit, x)], one.x)
    text = "".join(kernels(mod, M55).values())
    assert "kp_outer" in text or "kp_stationary" in text


def test_products_of_inputs_and_boards_without_floats_in_mve_are_left_to_other_rules(module):
    two = module(lambda emit, x, y: [emit(relax.op.matmul(x, y))], (3, 11), (11, 9))
    one = module(lambda emit, x: [emit(relax.op.matmul(x, relax.const([[1.0] * 8] * 9)))], (1, 9))
    for mod, isa in ((two, Target.load(M55).isa), (one, ("dsp", "fpu", "mve"))):
        (function,) = schedule(graph.legalize()(mod), isa).values()
        assert "kp_sums" in function.script()
