"""Forms: what cannot be made is refused, sizes and ranks are those of weights that were drawn."""

from __future__ import annotations

from itertools import combinations, permutations
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

from tvm_kp.compress import Kronecker, LowRank, Pruned
from tvm_kp.compress.forms import MOST_ENTRIES, MOST_TERMS
from tvm_kp.compress.weights import make
from tvm_kp.errors import ModelError
from tvm_kp.structure import doped, sums, three_factors

SIDES = st.tuples(st.integers(1, 5), st.integers(1, 5))
PAIR = ((2, 3), (3, 4))  # 6 x 12
MORE = [("terms", 2), ("terms", 3), ("dense_rows", 1), ("dense_rows", 2), ("entries", None)]


@st.composite
def kroneckers(draw):
    """A form of every kind, and the rows and columns of what it makes."""
    factors = tuple(draw(st.lists(SIDES, min_size=2, max_size=3)))
    rows, cols = (prod(side) for side in zip(*factors, strict=True))
    kind, value = draw(st.sampled_from([(None, None), *MORE]))
    most = rows * cols // 50
    if len(factors) == 3 or kind is None or (kind == "entries" and not most):
        return Kronecker(factors), rows, cols
    if kind == "entries":
        density = draw(st.integers(1, most)) / (rows * cols)
        return Kronecker(factors, density=density), rows, cols
    rows += value if kind == "dense_rows" else 0
    return Kronecker(factors, **{kind: value}), rows, cols


def entries(form, rows, cols):
    return round(form.density * rows * cols)


def drawn(form, rows, cols, gates=1):
    """A weight of ``form`` with random numbers, its entries chosen."""
    weight = make(form, gates, rows, cols, torch.empty(0, dtype=torch.float64))
    torch.manual_seed(0)
    weight.draw(1.0)
    if hasattr(weight, "entries"):
        nn.init.normal_(weight.entries)
    weight.anneal(1.0)
    return weight


def numbers(weight):
    """Parameters, of entries those that are chosen."""
    left_out = int((~weight.mask).sum()) if hasattr(weight, "mask") else 0
    return sum(parameter.numel() for parameter in weight.parameters()) - left_out


@given(case=kroneckers())
def test_parameters_of_kronecker_are_those_of_a_weight(case):
    form, rows, cols = case
    form.check(rows, cols)
    assert 3 * form.parameters(rows, cols) == numbers(drawn(form, rows, cols, gates=3))


def multiplied(factors, order):
    """MACs of the product with a vector where one factor after the other takes its axis."""
    x, count = np.zeros([n for _, n in factors]), 0
    for axis in order:
        count += x.size * factors[axis][0]
        x = np.zeros([factors[axis][0] if k == axis else n for k, n in enumerate(x.shape)])
    return count


@given(case=kroneckers())
def test_macs_of_kronecker_are_those_of_its_parts(case):
    """Dense rows and entries cost one each, a product the cheapest order."""
    form, rows, cols = case
    orders = permutations(range(len(form.factors)))
    product = min(multiplied(form.factors, order) for order in orders)
    apart = form.dense_rows * cols + entries(form, rows, cols)
    assert form.macs(rows, cols) == form.terms * product + apart


@given(factors=st.tuples(SIDES, SIDES, SIDES))
@example(factors=((4, 4), (4, 1), (1, 4)))
def test_macs_of_three_factors_are_those_that_are_compiled(factors):
    expected = three_factors.macs(factors, three_factors.order_of(factors))
    assert Kronecker(factors).macs(0, 0) == expected


def test_the_last_of_three_factors_may_come_first():
    assert Kronecker(((4, 4), (4, 1), (1, 4))).macs(16, 16) == 48


@given(case=kroneckers())
@example(case=(Kronecker(((1, 4), (4, 2)), terms=3), 4, 8))
@example(case=(Kronecker(((4, 1), (1, 4)), dense_rows=1), 5, 4))
@example(case=(Kronecker(((5, 2), (2, 5)), density=0.01), 10, 10))
def test_max_rank_is_that_of_random_kronecker_weights(case):
    """But for some sums, and entries that share a row or a column."""
    form, rows, cols = case
    rank = np.linalg.matrix_rank(drawn(form, rows, cols)().detach().numpy())
    assert rank <= form.max_rank(rows, cols)
    if form.terms == 1 and entries(form, rows, cols) <= 1:
        assert rank == form.max_rank(rows, cols)


def test_max_rank_counts_entries():
    form = Kronecker(((4, 2), (5, 10)), density=0.02)
    form.check(20, 20)
    weight = make(form, 1, 20, 20, torch.empty(0, dtype=torch.float64))
    weight.draw(1.0)
    index = torch.arange(8)  # four entries for each column of A
    with torch.no_grad():
        weight.entries[0, index, 10 * (index % 2) + index // 2] = 1.0
        assert form.max_rank(20, 20) == torch.linalg.matrix_rank(weight()) == 10 + 8


def test_max_rank_of_a_sum_is_a_bound():
    form = Kronecker(((3, 5), (5, 3)), terms=2)
    assert torch.linalg.matrix_rank(drawn(form, 15, 15)()) == 14
    assert form.max_rank(15, 15) == 15


@given(rows=st.integers(1, 6), cols=st.integers(1, 6), rank=st.integers(1, 6))
def test_low_rank_is_what_a_weight_has(rows, cols, rank):
    form = LowRank(min(rank, rows, cols))
    form.check(rows, cols)
    weight = drawn(form, rows, cols, gates=3)
    assert 3 * form.parameters(rows, cols) == 3 * form.macs(rows, cols) == numbers(weight)
    for gate in np.split(weight().detach().numpy(), 3):
        assert form.max_rank(rows, cols) == np.linalg.matrix_rank(gate)


@given(rows=st.integers(2, 8), cols=st.integers(2, 8), density=st.floats(0.2, 0.8))
def test_pruned_is_what_a_weight_keeps(rows, cols, density):
    form = Pruned(density)
    form.check(rows, cols)
    weight = drawn(form, rows, cols, gates=3)
    assert 3 * form.parameters(rows, cols) == numbers(weight) == int((weight() != 0).sum())
    assert form.macs(rows, cols) == rows * cols


@pytest.mark.parametrize(("kept", "rank"), [(1, 1), (3, 3), (20, 4)])
def test_max_rank_of_pruned_is_that_of_entries_in_different_rows(kept, rank):
    w = np.zeros((4, 6))
    w[np.arange(kept) % 4, np.arange(kept) % 6] = 1 + np.arange(kept)
    assert Pruned(kept / 24).max_rank(4, 6) == np.linalg.matrix_rank(w) == rank


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            Kronecker(((2, 3), (3, 3))),
            "factors 2x3 and 3x3 make 6x9, but each gate of W of rnn is 6x12; "
            "give for example 2x4 and 3x3",
        ),
        (
            Kronecker(PAIR, dense_rows=2),
            "make 6x12, but each gate of W of rnn is 4x12 below the dense rows; "
            "give for example 2x4 and 2x3",
        ),
        (Kronecker(((2, 3), (3, 2), (1, 3))), "2x3 and 3x2 and 1x3 make 6x18"),
        (Kronecker(((6, 12),)), "give two or three factors, each"),
        (Kronecker(((6, 12), (0, 1))), "of at least 1"),
        (Kronecker(PAIR, terms=0), "terms are from 1 to 3"),
        (Kronecker(PAIR, terms=4), "terms are from 1 to 3"),
        (Kronecker(PAIR, dense_rows=6), "dense rows fewer than the 6 of each gate"),
        (Kronecker(PAIR, dense_rows=-1), "dense rows fewer than the 6 of each gate"),
        (
            Kronecker(PAIR, density=0.5),
            "these are 36 of 6x12; give a density for at least one, and for no more than 2%",
        ),
        (Kronecker(PAIR, density=1.5 / 72), "these are 2 of 6x12; give a density"),
        (Kronecker(PAIR, density=0.4 / 72), "these are 0 of 6x12; give a density"),
        (Kronecker(PAIR, density=-0.1), "these are -7 of 6x12; give a density"),
        (LowRank(0), "rank 0; each gate of W of rnn is 6x12: give 1 to 6"),
        (LowRank(7), "rank 7; each gate of W of rnn is 6x12: give 1 to 6"),
        (Pruned(1.0), "density 1.0 of W of rnn, 6x12 a gate; give a share between 0 and 1"),
        (Pruned(0.5 / 73), "keeps at least one entry"),
    ],
    ids=str,
)
def test_what_cannot_be_made(form, message):
    with pytest.raises(ModelError) as error:
        form.check(6, 12, "W of rnn")
    assert message in str(error.value)


ADDED = {"terms": 2, "dense_rows": 1, "density": 1 / 72, "factors": (*PAIR, (1, 1))}


@pytest.mark.parametrize("names", [*combinations(ADDED, 2)], ids=" and ".join)
def test_only_one_thing_is_added_to_a_product(names):
    form = Kronecker(**{"factors": PAIR} | {name: ADDED[name] for name in names})
    with pytest.raises(ModelError, match=r"found one at a time .* give one of them"):
        form.check(6, 12)


def test_what_can_be_made_is_what_is_looked_for():
    assert (MOST_TERMS, MOST_ENTRIES) == (sums.MOST_TERMS, doped.MOST)


def test_the_suggestion_can_be_made():
    with pytest.raises(ModelError, match="give for example 2x16 and 59x8"):
        Kronecker(((4, 16), (59, 8))).check(118, 128)
    Kronecker(((2, 16), (59, 8))).check(118, 128)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (Kronecker(PAIR), "(2×3)⊗(3×4)"),
        (Kronecker((*PAIR, (1, 2))), "(2×3)⊗(3×4)⊗(1×2)"),
        (
            Kronecker(PAIR, terms=2, dense_rows=3, density=0.02),
            "[3 dense rows; 2 × (2×3)⊗(3×4)] + 2.0% entries",
        ),
        (LowRank(4), "rank 4"),
        (Pruned(0.125), "12.5% of the entries"),
    ],
)
def test_text(form, text):
    assert str(form) == text
