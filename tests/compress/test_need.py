"""Growing by need: what is tried, in which order, and when it ends."""

from __future__ import annotations

import copy
import itertools
import re
from dataclasses import replace
from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tvm_kp.compress import (
    Choice,
    Kronecker,
    LowRank,
    Plan,
    Pruned,
    fit,
    meet,
    need,
    plan,
    size,
)
from tvm_kp.compress.apply import compressed
from tvm_kp.compress.plans import sites
from tvm_kp.errors import InputError, ModelError

PAPER = Kronecker(((2, 16), (59, 8)))
BETTER = Kronecker(((9, 8), (13, 16)), dense_rows=1)


class Net(nn.Module):
    def __init__(self, rnn: nn.Module, features: int = 4) -> None:
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(features, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def keywords() -> Net:
    return Net(nn.LSTM(10, 118), 118)


def by_size(model: nn.Module) -> float:
    """Stands for training: larger models are better, up to 80,000 bytes."""
    return min(size(model) / 80_000, 1.0)


def numbers(form):
    """Of the factors of one term."""
    return sum(map(prod, form.factors))


def tried(base, budget="60KB", make=keywords, **options):
    """All forms that are tried, for a target that none reaches."""
    seen = []
    with pytest.raises(ModelError, match="reached an accuracy of 1;"):
        meet(
            make,
            Choice("rnn", base if isinstance(base, tuple) else (base,)),
            lambda _model: 0.5,
            target=1,
            budget=budget,
            progress=seen.append,
            **options,
        )
    return seen


def test_ends_with_the_first_that_is_good_enough():
    result = meet(keywords, Choice("rnn", (BETTER,)), by_size, target=0.3, budget="60KB")
    assert result.accuracy == result.tries[-1].accuracy >= 0.3
    assert all(one.accuracy < 0.3 for one in result.tries[:-1])
    assert [one.form for one in result.tries] == [
        "[1 dense row; (9×8)⊗(13×16)]",
        "[6 dense rows; (8×8)⊗(14×16)]",
        "[10 dense rows; (9×8)⊗(12×16)]",
    ]
    assert [name for name, _ in compressed(result.model)] == ["rnn"]
    assert size(result.model) == size(keywords(), result.plan) == result.tries[-1].size


def test_the_base_may_be_enough():
    choice = Choice("rnn", (PAPER,))
    result = meet(keywords, choice, lambda _model: 0.9, target=0.9, budget="60KB")
    assert (result.plan, result.accuracy, len(result.tries)) == (Plan((choice,)), 0.9, 1)


def test_rows_about_double_and_the_factors_stay_near():
    assert [one.form for one in tried(PAPER)] == [
        "(2×16)⊗(59×8)",
        "[1 dense row; (3×16)⊗(39×8)]",
        "[2 dense rows; (2×16)⊗(58×8)]",
        "[4 dense rows; (2×16)⊗(57×8)]",
        "[8 dense rows; (2×16)⊗(55×8)]",
        "[16 dense rows; (2×16)⊗(51×8)]",
    ]


def test_terms_are_added_up():
    forms = [one.form for one in tried(PAPER, "20KB", grow="terms")]
    assert forms == ["(2×16)⊗(59×8)", "2 × (2×16)⊗(59×8)"]
    # Three would be 3 · 23 numbers, and there are 6 · 10.
    small = tried(Kronecker(((2, 10), (3, 1))), make=lambda: Net(nn.LSTM(4, 6)), grow="terms")
    assert [one.form for one in small][-1] == "2 × (2×10)⊗(3×1)"
    from_two = tried(replace(PAPER, terms=2), grow="terms")
    assert [one.form for one in from_two] == ["2 × (2×16)⊗(59×8)", "3 × (2×16)⊗(59×8)"]


@pytest.mark.parametrize("grow", ["dense_rows", "terms"])
@given(budget=st.integers(2_500, 12_000), bits=st.sampled_from([8, 32]))
def test_every_try_is_larger_and_within_the_budget(grow, budget, bits):
    model = Net(nn.LSTM(28, 40), 40)
    base = plan(model, factor=20).choices[0].forms
    if size(model, Plan((Choice("rnn", base),)), bits) > budget:
        return
    tries = tried(base, budget, lambda: Net(nn.LSTM(28, 40), 40), grow=grow, bits=bits)
    sizes = [one.size for one in tries]
    assert sizes == sorted(set(sizes)) and sizes[-1] <= budget


@given(inputs=st.integers(3, 20), hidden=st.integers(6, 24), factor=st.floats(2, 6))
def test_forms_fit_and_keep_the_rank(inputs, hidden, factor):
    for layer in (nn.GRU(inputs, hidden), nn.RNN(inputs, hidden)):
        site = sites(Net(layer))["rnn"]
        try:
            base = plan(Net(layer), factor=factor, layers=["rnn"]).choices[0]
        except ModelError:
            continue
        if not all(isinstance(form, Kronecker) for form in base.forms):
            continue
        for choice in itertools.chain(*need._steps(base, site, "dense_rows")):
            grown, known = choice.blocks(site), base.blocks(site)
            for (form, _, rows, cols), (first, *_) in zip(grown, known, strict=True):
                assert form.max_rank(rows, cols) >= first.max_rank(rows, cols)
                assert numbers(form) <= 1.1 * numbers(first)
                assert form.parameters(rows, cols) < rows * cols
            assert len({form.dense_rows for form in choice.forms}) == 1 or choice == base


def test_trained_forms():
    """Have the sums of both features over a sequence the same sign?"""
    x = torch.randn(120, 5, 2, generator=torch.Generator().manual_seed(0))
    y = (x.sum(1).prod(1) > 0).long()

    def make():
        torch.manual_seed(0)
        return Net(nn.RNN(2, 10, batch_first=True), 10)

    def train(model):
        return fit(model, x, y, epochs=20, lr=0.05, batch_size=20, seed=0)[-1].accuracy

    base = Choice("rnn", (Kronecker(((10, 1), (1, 12))),))
    result = meet(make, base, train, target=0.65, budget="1KB")
    assert result.accuracy >= 0.65 and len(result.tries) > 1
    assert not result.model.training


def test_starts_from_the_trained_weights():
    kept = keywords()
    choice = Choice("rnn", (BETTER,))

    def top(model):
        return dict(compressed(model))["rnn"].compressed()["weight_hh_l0"][0]

    for start, same in (("nearest", True), ("random", False)):
        result = meet(
            lambda: copy.deepcopy(kept), choice, by_size, target=0, budget="60KB", start=start
        )
        assert torch.equal(top(result.model), kept.rnn.weight_hh_l0[0]) == same


def test_names_the_best_when_the_budget_is_used_up():
    accuracies = iter([0.5, 0.75, 0.625])
    message = (
        "no form of rnn within 12,288 bytes reached an accuracy of 0.9; the best was 0.75 with "
        "[1 dense row; (3×16)⊗(39×8)], 10,648 bytes: raise the budget, train longer, or grow terms"
    )
    with pytest.raises(ModelError, match=re.escape(message)):
        meet(
            keywords,
            Choice("rnn", (PAPER,)),
            lambda _model: next(accuracies),
            target=0.9,
            budget="12KB",
        )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": 95}, InputError, "a target of 95; give an accuracy from 0 to 1"),
        ({"target": -0.1}, InputError, "a target of -0.1"),
        ({"target": float("nan")}, InputError, "a target of nan"),
        ({"grow": "rank"}, InputError, "grow 'rank'; there are 'dense_rows' and 'terms'"),
        ({"budget": "some"}, InputError, "a size of 'some'; give bytes"),
        ({"bits": 4}, InputError, "bits 4; there are 8, 32"),
        ({"train": lambda _: 97.5}, InputError, "train returned 97.5; an accuracy is from 0 to 1"),
        (
            {"base": Choice("rnn", (LowRank(3),))},
            InputError,
            "cannot grow dense_rows of rank 3; give a Kronecker form of two factors",
        ),
        ({"base": Choice("rnn", (Pruned(0.1),)), "grow": "terms"}, InputError, "cannot grow terms"),
        (
            {"base": Choice("rnn", (BETTER,)), "grow": "terms"},
            InputError,
            "cannot grow terms of .*; give a Kronecker form of two factors with nothing else",
        ),
        ({"base": Choice("rnn", (replace(PAPER, terms=2),))}, InputError, "cannot grow dense_rows"),
        (
            {"base": Choice("rnn", (replace(PAPER, density=0.01),))},
            InputError,
            "cannot grow dense_rows",
        ),
        (
            {"base": Choice("rnn", (Kronecker(((2, 16), (59, 4), (1, 2))),)), "grow": "terms"},
            InputError,
            "cannot grow terms of",
        ),
        (
            {"base": Choice("rnn", (Kronecker(((2, 16), (59, 4), (1, 2))),))},
            InputError,
            "cannot grow dense_rows of",
        ),
        ({"base": Choice("lstm", (PAPER,))}, ModelError, "'lstm' is no layer to compress in Net"),
        (
            {"budget": "1KB"},
            ModelError,
            "with the base the model takes 10,904 bytes, more than the budget of 1,024; raise it, "
            r"or let plan\(model, budget=1024\) choose the base",
        ),
    ],
)
def test_wrong_use(options, error, message):
    given = {
        "make": keywords,
        "base": Choice("rnn", (PAPER,)),
        "train": by_size,
        "target": 0.9,
        "budget": "20KB",
    } | options
    with pytest.raises(error, match=message):
        meet(**given)
