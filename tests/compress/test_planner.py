"""Plans fit what was asked for, and no form of the search is better than the one taken."""

from __future__ import annotations

import copy
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from tvm_kp.compress import (
    Choice,
    FastGRNN,
    FastRNN,
    Kronecker,
    LowRank,
    Plan,
    Pruned,
    ResetFirstGRU,
    apply,
    parse_size,
    plan,
    size,
)
from tvm_kp.compress.plans import sites
from tvm_kp.errors import InputError, ModelError

LAYERS = {
    "linear": nn.Linear,
    "lstm": nn.LSTM,
    "two layers": lambda inputs, hidden: nn.LSTM(inputs, hidden, 2, bidirectional=True),
    "projection": lambda inputs, hidden: nn.LSTM(inputs, hidden, proj_size=max(1, hidden // 2)),
    "gru": nn.GRU,
    "rnn": nn.RNN,
    "fast rnn": FastRNN,
    "fast grnn": FastGRNN,
    "reset first": ResetFirstGRU,
}
KEYS = {
    "rank": lambda rank, macs, numbers: (-rank, macs, numbers),
    "size": lambda rank, macs, numbers: (numbers, macs, -rank),
    "macs": lambda rank, macs, numbers: (macs, numbers, -rank),
}
sides = st.integers(2, 24)
factors = st.floats(1, 12)


class Net(nn.Module):
    def __init__(self, layer: nn.Module, features: int = 4) -> None:
        super().__init__()
        self.rnn = layer
        self.head = nn.Linear(features, 3)


def planned(model, **options):
    """The plan, or nothing if nothing is so small."""
    try:
        return plan(model, **options)
    except ModelError:
        assume(False)


def every_form(rows, cols):
    """(rank, macs, numbers) of all forms of the search, by the forms' own account."""
    forms = [LowRank(rank) for rank in range(1, min(rows, cols) + 1)]
    for dense_rows, terms in [(0, 1), (0, 2), (0, 3), *((k, 1) for k in range(1, rows))]:
        below = rows - dense_rows
        for m1, n1 in product(range(1, below + 1), range(1, cols + 1)):
            shapes = ((m1, n1), (below // m1, cols // n1))
            if below % m1 == 0 and cols % n1 == 0 and (1, 1) not in shapes:
                form = Kronecker(shapes, terms, dense_rows)
                form.check(rows, cols)
                if dense_rows <= 8 or 2 * dense_rows * cols <= form.parameters(rows, cols):
                    forms.append(form)
    found = ((f.max_rank(rows, cols), f.macs(rows, cols), f.parameters(rows, cols)) for f in forms)
    return [one for one in found if one[2] < rows * cols]


def best_of(found, allowed, objective="rank"):
    fitting = [one for one in found if one[2] <= allowed]
    largest = max((rank for rank, _, _ in fitting), default=0)
    large = [one for one in fitting if 2 * one[0] >= largest]
    return min(large, key=lambda one: KEYS[objective](*one), default=None)


@pytest.mark.parametrize("objective", KEYS)
@given(rows=sides, cols=st.integers(1, 24), factor=factors)
def test_no_form_is_better(objective, rows, cols, factor):
    expected = best_of(every_form(rows, cols), rows * cols / factor, objective)
    model = nn.Linear(cols, rows)
    if expected is None:
        with pytest.raises(ModelError, match=r"times smaller|has no structure"):
            plan(model, factor=factor, objective=objective)
        return
    (row,) = plan(model, factor=factor, objective=objective).rows(model)
    assert (row.rank, row.macs, row.parameters) == expected


@given(inputs=sides, hidden=sides, factor=factors)
def test_two_forms_only_for_a_larger_rank(inputs, hidden, factor):
    model = nn.RNN(inputs, hidden)
    result = planned(model, factor=factor)
    cols = inputs + hidden
    together = best_of(every_form(hidden, cols), hidden * cols / factor) or (0, 0, 0)
    (row,) = result.rows(model)
    if len(result.choices[0].forms) == 1:
        assert (row.rank, row.macs, row.parameters) == together
    else:
        assert row.rank > together[0]


@pytest.mark.parametrize("objective", KEYS)
@pytest.mark.parametrize("layer", LAYERS)
@given(inputs=sides, hidden=sides, factor=factors)
def test_every_layer_is_smaller_by_the_factor(layer, objective, inputs, hidden, factor):
    model = Net(LAYERS[layer](inputs, hidden))
    result = planned(model, factor=factor, objective=objective, layers=["rnn"])
    assert [row.site for row in result.rows(model)] == [n for n in sites(model) if n != "head"]
    assert all(row.compression >= factor for row in result.rows(model))
    assert all(len(choice.forms) == 2 for choice in result.choices if layer == "gru")
    apply(model, result, start="random")
    made = sum(p.numel() for name, p in model.named_parameters() if "compressed" in name)
    dense = sum(site.dense for site in sites(LAYERS[layer](inputs, hidden)).values())
    assert made <= dense / factor * (1 + 1e-12)


@pytest.mark.parametrize("layer", LAYERS)
@given(inputs=sides, hidden=sides, share=st.floats(0.1, 1), bits=st.sampled_from([8, 32]))
def test_the_model_is_within_the_budget(layer, inputs, hidden, share, bits):
    model = Net(LAYERS[layer](inputs, hidden))
    budget = int(share * size(model, bits=bits)) + 1
    result = planned(model, budget=budget, bits=bits)
    taken = size(model, result, bits)
    assert taken <= budget
    apply(model, result, start="random")
    assert size(model, bits=bits) == taken


@given(hidden=sides, shares=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)))
def test_a_larger_budget_is_no_smaller_rank(hidden, shares):
    model = nn.LSTM(6, hidden, 2)
    less, more = (int(share * size(model)) for share in sorted(shares))
    ranks = [row.rank for row in planned(model, budget=less).rows(model)]
    larger = plan(model, budget=more)
    assert not larger.choices or all(
        a <= row.rank for a, row in zip(ranks, larger.rows(model), strict=True)
    )


@given(inputs=sides, hidden=sides, factor=factors, smaller=factors)
def test_a_budget_takes_the_smallest_factor(inputs, hidden, factor, smaller):
    """No smaller factor gives another plan that fits what this one needs."""
    model = nn.ModuleList([nn.LSTM(inputs, hidden), nn.GRU(hidden, inputs)])
    budget = size(model, planned(model, factor=factor))
    chosen = plan(model, budget=budget)
    other = planned(model, factor=min(smaller, factor))
    if size(model, other) <= budget:
        for row, least in zip(chosen.rows(model), other.rows(model), strict=True):
            assert row.rank >= least.rank


@pytest.mark.parametrize(
    ("layer", "factor", "form", "rank"),
    [
        (nn.LSTM(28, 40), 17.6, "(5×17)⊗(8×4)", 20),
        (nn.LSTM(10, 118), 24.5, "[1 dense row; (9×8)⊗(13×16)]", 105),
        (ResetFirstGRU(10, 154), 38.4, "(11×4)⊗(14×41)", 56),
        (FastRNN(16, 32), 17, "(4×6)⊗(8×8)", 32),
        (nn.LSTM(9, 180, bidirectional=True), 20, "(9×9)⊗(20×21)", 180),
    ],
    ids=["MNIST", "KWS-LSTM", "KWS-GRU", "USPS", "HAR"],
)
def test_benchmarks(layer, factor, form, rank):
    for row in plan(Net(layer), factor=factor).rows(Net(layer)):
        assert (row.form, row.rank) == (form, rank)


def test_prime_sizes():
    rows = plan(nn.LSTM(77, 179), factor=29.7).rows(nn.LSTM(77, 179))
    assert (rows[0].form, rows[0].rank) == ("[3 dense rows; (11×16)⊗(16×16)]", 179)
    columns = plan(nn.LSTM(128, 129), factor=10)
    assert len(columns.choices[0].forms) == 2
    assert columns.rows(nn.LSTM(128, 129))[0].rank == 97


@pytest.mark.parametrize(
    ("inputs", "hidden", "shapes"),
    [
        (28, 40, ((5, 17), (8, 4))),
        (10, 118, ((2, 16), (59, 8))),
        (10, 154, ((11, 41), (14, 4))),
        (16, 32, ((4, 12), (8, 4))),
    ],
)
def test_primes_are_the_papers_shapes(inputs, hidden, shapes):
    model = nn.LSTM(inputs, hidden)
    expected = Plan((Choice("", (Kronecker(shapes),)),))
    assert plan(model, factor=10, rule="primes") == expected
    assert plan(model, budget=size(model, expected), rule="primes") == expected


def test_which_layers():
    net = Net(nn.LSTM(4, 6, 2, bidirectional=True), 12)
    names = ["rnn.l0", "rnn.l0_reverse", "rnn.l1", "rnn.l1_reverse"]
    assert [choice.site for choice in plan(net, factor=2).choices] == names
    assert [choice.site for choice in plan(net, factor=2, layers=["rnn"]).choices] == names
    some = plan(net, factor=1.2, layers=["head", "rnn.l1"])
    assert [choice.site for choice in some.choices] == ["head", "rnn.l1"]
    linear = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4), nn.Linear(4, 1))
    assert [choice.site for choice in plan(linear, factor=2).choices] == ["0", "2"]


def test_a_plan_is_always_the_same():
    net = Net(nn.LSTM(10, 118))
    assert plan(net, budget="16KB") == plan(copy.deepcopy(net), budget=16384)
    assert plan(net, budget="16KB") == plan(net, budget="16KB", layers=["rnn"])


def test_a_small_weight_gets_what_it_needs_and_the_other_the_rest():
    (row,) = plan(nn.GRU(10, 154), factor=38.4).rows(nn.GRU(10, 154))
    assert row.compression >= 38.4
    with pytest.raises(ModelError, match="154x164 a gate, can be at most"):
        plan(nn.GRU(10, 154), factor=300)


def test_a_model_within_the_budget_is_left_alone():
    net = Net(nn.LSTM(4, 8), 8)
    assert plan(net, budget=size(net)) == Plan(())
    assert plan(net, budget=size(net) - 1).choices


def test_size_counts_biases_that_act():
    cells = 4 * 6 * (4 + 6)
    assert size(nn.LSTM(4, 6)) == 4 * (cells + 4 * 6)
    assert size(nn.LSTM(4, 6, bias=False), bits=8) == cells
    assert size(nn.GRU(4, 6)) == 4 * (3 * 6 * (4 + 6) + 2 * 3 * 6)
    assert size(FastRNN(4, 6)) == 4 * (6 * (4 + 6) + 6 + 2)


def test_size_counts_shared_parameters_once():
    net = nn.ModuleDict({"words": nn.Embedding(12, 6), "head": nn.Linear(6, 12, bias=False)})
    net["head"].weight = net["words"].weight
    assert size(net) == 4 * 72
    form = Kronecker(((3, 2), (4, 3)))
    assert size(net, Plan((Choice("head", (form,)),))) == 4 * (72 + 18)


def test_size_counts_chosen_entries():
    net = Net(nn.LSTM(4, 6))
    pruned = Plan((Choice("rnn", (Pruned(0.1),)),))
    taken = size(net, pruned, 8)
    assert taken == 4 * 6 + 24 + 15
    apply(net, pruned)
    assert size(net, None, 8) == taken


@pytest.mark.parametrize(
    ("text", "expected"),
    [("16KB", 16384), ("1.5MB", 1572864), ("900", 900), (" 2 kb ", 2048), ("7B", 7), (64, 64)],
)
def test_sizes(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "KB", "-1KB", "0", 0, -5, "16 GB", "1,5MB", "nan", "0.2B"])
def test_what_is_no_size(text):
    with pytest.raises(InputError, match=r"give bytes, for example 16KB, 1.5MB or 16384"):
        parse_size(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give a budget in bytes, or a factor to compress by, and not both"),
        ({"budget": 100, "factor": 2}, "and not both"),
        ({"budget": "much"}, "a size of 'much'; give bytes"),
        ({"factor": 0.5}, "factor 0.5; give how many times smaller, a number of at least 1"),
        ({"factor": float("nan")}, "factor nan"),
        ({"factor": 2, "objective": "speed"}, "there are 'rank', 'size', 'macs'"),
        ({"factor": 2, "rule": "guess"}, "rule 'guess'; there are 'search', 'primes'"),
        ({"factor": 2, "bits": 4}, "bits 4; there are 8, 32"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        plan(Net(nn.LSTM(4, 6)), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"factor": 2, "layers": ["lstm"]},
            "'lstm' is no layer to compress in Net; there are rnn, ",
        ),
        ({"factor": 2, "layers": ["rnn", "rnn"]}, "rnn is planned twice"),
        ({"factor": 2, "layers": []}, "no layer to compress in Net; these are nn.Linear"),
        (
            {"factor": 100},
            "a factor of 100: rnn, 118x128 a gate, can be at most 61.39 times smaller; ask for "
            "less, or give layers without it",
        ),
        (
            {"budget": 4096},
            "a budget of 4,096 bytes is too small for any structure: the model takes at least "
            r"5,\d+, 1,948 of them outside the compressed layers; rnn, 118x128 a gate, can be",
        ),
        (
            {"factor": 40, "rule": "primes"},
            r"\(2×16\)⊗\(59×8\), the rule's shapes for rnn, are 29.97 times smaller, 506 numbers "
            "too many for a factor of 40; ask for less, or let rule 'search' choose",
        ),
        (
            {"budget": "9KB", "rule": "primes"},
            r"with the rule's shapes, \(2×16\)⊗\(59×8\) for rnn, the model takes 10,012 bytes, "
            "796 more than the budget of 9,216; raise it, or let rule 'search' choose",
        ),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(ModelError, match=message):
        plan(Net(nn.LSTM(10, 118), 4), **options)


def test_nothing_to_compress():
    with pytest.raises(ModelError, match=r"no layer to compress in Conv1d; these are nn\.Linear"):
        plan(nn.Conv1d(2, 2, 1), factor=2)
    with pytest.raises(ModelError, match=r", 3x1 a gate, has no structure that is smaller"):
        plan(nn.Linear(1, 3), factor=2)
