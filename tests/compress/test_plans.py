"""Plans: the names of what can be compressed, what a plan comes to, and plans that do not fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tvm_kp.compress import (
    Choice,
    FastGRNN,
    FastRNN,
    Kronecker,
    KroneckerLSTM,
    LowRank,
    Plan,
    Pruned,
    ResetFirstGRU,
    apply,
)
from tvm_kp.compress.plans import Row, chosen, on_one_device, sites
from tvm_kp.errors import ModelError

LSTM = Kronecker(((2, 5), (3, 2)))  # of 6 units and 4 inputs
ONE = LowRank(1)


class Net(nn.Module):
    """``rnn`` is 4 -> 6, the head 6 -> 8."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(6, 8)


def plan(*names_and_forms):
    return Plan(tuple(Choice(name, tuple(forms)) for name, *forms in names_and_forms))


@pytest.mark.parametrize(
    ("layer", "gates", "weights"),
    [
        (nn.LSTM(4, 6), 4, ("weight_ih_l0", "weight_hh_l0")),
        (nn.GRU(4, 6), 3, ("weight_ih_l0", "weight_hh_l0")),
        (nn.RNN(4, 6), 1, ("weight_ih_l0", "weight_hh_l0")),
        (FastRNN(4, 6), 1, ("weight_ih", "weight_hh")),
        (FastGRNN(4, 6), 1, ("weight_ih", "weight_hh")),
        (ResetFirstGRU(4, 6), 3, ("weight_ih", "weight_hh")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_recurrence_has_the_name_of_its_layer(layer, gates, weights):
    found = sites(Net(layer))
    assert list(found) == ["rnn", "head"]
    rnn, head = found.values()
    assert (rnn.layer, rnn.weights) == (layer, weights)
    assert (rnn.gates, rnn.rows, rnn.cols) == (gates, 6, (4, 6))
    assert (rnn.recurrent, rnn.dense) == (True, gates * 6 * 10)
    assert (head.weights, head.gates, head.rows, head.cols) == (("weight",), 1, 8, (6,))
    assert (head.recurrent, head.dense) == (False, 48)


def test_names_of_several_recurrences():
    found = sites(Net(nn.LSTM(4, 6, 2, bidirectional=True)))
    suffixes = ("l0", "l0_reverse", "l1", "l1_reverse")
    assert list(found) == [*(f"rnn.{suffix}" for suffix in suffixes), "head"]
    for suffix in suffixes:
        site = found[f"rnn.{suffix}"]
        assert site.weights == (f"weight_ih_{suffix}", f"weight_hh_{suffix}")
        assert site.cols == (4 if suffix.startswith("l0") else 12, 6)
        assert site.layer_name == "rnn"
    assert found["head"].layer_name == "head"


def test_names_in_a_layer_that_is_the_model():
    assert list(sites(nn.LSTM(4, 4, 2))) == ["l0", "l1"]
    assert list(sites(nn.LSTM(4, 4))) == list(sites(nn.Linear(4, 4))) == [""]


def test_names_stay_when_another_recurrence_is_compressed():
    net = Net(nn.LSTM(4, 6, 2))
    apply(net, plan(("rnn.l0", ONE)))
    assert list(sites(net)) == ["rnn.l1", "head"]
    assert [site.name for _, site in chosen(net, plan(("rnn", ONE)))] == ["rnn.l1"]


def test_columns_of_a_projection():
    rnn = sites(Net(nn.LSTM(4, 6, proj_size=3)))["rnn"]
    assert (rnn.gates, rnn.rows, rnn.cols) == (4, 6, (4, 3))


def test_layers_of_factors_have_none():
    assert list(sites(Net(KroneckerLSTM(4, 6)))) == ["head"]


def test_attention_has_none():
    """Its forward reads the weights of ``out_proj`` itself."""
    assert not sites(nn.MultiheadAttention(4, 2))


def test_a_name_is_not_that_of_what_is_in_it():
    model = nn.ModuleDict({"enc": nn.ModuleDict({"lstm": nn.LSTM(4, 6), "more": nn.LSTM(4, 6, 2)})})
    assert list(sites(model)) == ["enc.lstm", "enc.more.l0", "enc.more.l1"]
    with pytest.raises(ModelError, match="'enc' is no layer to compress in ModuleDict; there are"):
        chosen(model, plan(("enc", ONE)))


def test_a_layer_is_all_of_its_recurrences():
    net = Net(nn.GRU(4, 6, 2, bidirectional=True))
    names = [site.name for _, site in chosen(net, plan(("rnn", ONE)))]
    assert names == ["rnn.l0", "rnn.l0_reverse", "rnn.l1", "rnn.l1_reverse"]
    pairs = chosen(net, plan(("rnn.l1", LowRank(2)), ("head", ONE)))
    assert [(choice.site, site.name) for choice, site in pairs] == [("rnn.l1",) * 2, ("head",) * 2]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            plan(("rnn.l0", ONE)),
            "'rnn.l0' is no layer to compress in Net; there are rnn, head",
        ),
        (plan(("compressed", ONE)), "'compressed' is no layer to compress in Net"),
        (plan(("", ONE)), "'' is no layer to compress in Net"),
        (plan(("head", ONE), ("head", ONE)), "head is planned twice; give each layer one choice"),
        (
            plan(("rnn", Kronecker(((2, 3), (3, 2))))),
            "factors 2x3 and 3x2 make 6x6, but each gate of [weight_ih_l0 | weight_hh_l0] of rnn "
            "is 6x10; give for example 2x5 and 3x2",
        ),
        (plan(("rnn", Kronecker(((2, 2), (3, 2))), LSTM)), "each gate of weight_hh_l0 of rnn is"),
        (
            Plan((Choice("rnn", (LSTM,), stacked=True),)),
            "make 6x10, but each gate of [weight_ih_l0 | weight_hh_l0] of rnn is 24x10",
        ),
        (
            plan(("head", ONE, ONE)),
            "2 forms for head, which has 1 weights; give one for all, or one for each",
        ),
        (plan(("rnn",)), "0 forms for rnn, which has 2 weights"),
    ],
)
def test_plans_that_do_not_fit(choices, message):
    with pytest.raises(ModelError) as error:
        choices.rows(Net(nn.LSTM(4, 6)))
    assert message in str(error.value)


def test_one_recurrence_planned_twice():
    twice = plan(("rnn.l1", ONE), ("rnn", ONE))
    with pytest.raises(ModelError, match=r"rnn\.l1 is planned twice"):
        chosen(Net(nn.LSTM(4, 6, 2)), twice)


def test_a_model_without_layers_to_compress():
    with pytest.raises(ModelError, match=r"in Conv1d; these can be: nn\.Linear, nn\.LSTM"):
        plan(("conv", ONE)).rows(nn.Conv1d(2, 3, 1))


@pytest.mark.parametrize(
    ("make", "first", "again", "there"),
    [
        (lambda: Net(nn.LSTM(4, 6)), "rnn", "rnn", "there are head"),
        (lambda: Net(FastRNN(4, 6)), "rnn", "rnn", "there are head"),
        (lambda: Net(nn.LSTM(4, 6)), "head", "head", "there are rnn"),
        (lambda: Net(nn.GRU(4, 6, 2)), "rnn", "rnn", "there are head"),
        (lambda: Net(nn.GRU(4, 6, 2)), "rnn", "rnn.l1", "there are head"),
        (lambda: Net(nn.GRU(4, 6, 2)), "rnn.l0", "rnn.l0", r"there are rnn\.l1, head"),
        (lambda: nn.LSTM(4, 4, 2), "l0", "l0", "there are l1"),
        (lambda: nn.LSTM(4, 4, 2), "", "l1", r"these can be: nn\.Linear"),
        (lambda: nn.Linear(4, 4), "", "", r"these can be: nn\.Linear"),
    ],
)
def test_what_is_compressed_already(make, first, again, there):
    model = make()
    apply(model, plan((first, ONE)))
    with pytest.raises(ModelError, match=f"^'{again}' is compressed already in .*; {there}"):
        chosen(model, plan((again, ONE)))


def test_what_is_not_compressed_already():
    """Other names of a compressed layer's, and layers that call something else so."""
    net = Net(nn.LSTM(4, 6))
    net.compressed = True
    for name in ("lstm", "rnn.l1"):
        with pytest.raises(ModelError, match=f"'{name}' is no layer to compress in Net"):
            chosen(net, plan((name, ONE)))
    apply(net, plan(("rnn", ONE)))
    for name in ("rnn.l1", "rnn.compressed", "head.l0"):
        with pytest.raises(ModelError, match=f"'{name}' is no layer to compress in Net"):
            chosen(net, plan((name, ONE)))


@pytest.mark.parametrize(
    ("choice", "form", "rank", "parameters", "macs"),
    [
        (Choice("rnn", (LSTM,)), "(2×5)⊗(3×2)", 4, 4 * (10 + 6), 4 * (20 + 12)),
        (
            Choice("rnn", (Kronecker(((2, 5), (3, 2)), terms=2),)),
            "2 × (2×5)⊗(3×2)",
            6,
            4 * 2 * (10 + 6),
            4 * 2 * (20 + 12),
        ),
        (
            Choice("rnn", (Kronecker(((2, 5), (2, 2)), dense_rows=2),)),
            "[2 dense rows; (2×5)⊗(2×2)]",
            6,
            4 * (20 + 10 + 4),
            4 * (20 + 20 + 8),
        ),
        (
            Choice("rnn", (Kronecker(((2, 5), (3, 2)), density=1 / 60),)),
            "(2×5)⊗(3×2) + 1.7% entries",
            5,
            4 * (10 + 6 + 1),
            4 * (20 + 12 + 1),
        ),
        (
            Choice("rnn", (LowRank(2), Pruned(0.5))),
            "rank 2, 50.0% of the entries",
            2,
            4 * (2 * (6 + 4) + 18),
            4 * (2 * (6 + 4) + 36),
        ),
        (
            Choice("rnn", (LowRank(3),), stacked=True),
            "rank 3, all gates",
            3,
            3 * (24 + 10),
            3 * (24 + 10),
        ),
    ],
)
def test_a_row_of_four_gates(choice, form, rank, parameters, macs):
    """Each is 6 x 10."""
    row = Row("rnn", form, rank, parameters, 240 / parameters, macs, 240)
    assert Plan((choice,)).rows(Net(nn.LSTM(4, 6))) == [row]


def test_rows_are_in_the_order_of_the_plan():
    head, rnn = plan(("head", LowRank(2)), ("rnn", LSTM)).rows(Net(nn.LSTM(4, 6)))
    assert head == Row("head", "rank 2", 2, 28, 48 / 28, 28, 48)
    assert rnn.site == "rnn"


def test_a_row_for_every_recurrence():
    rows = plan(("rnn", ONE)).rows(Net(nn.LSTM(4, 6, 2)))
    assert [(row.site, row.dense_macs) for row in rows] == [("rnn.l0", 240), ("rnn.l1", 288)]


def test_one_device():
    parameters = list(Net(nn.LSTM(4, 6)).parameters())
    assert on_one_device(parameters) == torch.device("cpu")
    meta = torch.empty(2, device="meta")
    for several, named in (([meta], "on meta; move"), ([*parameters, meta], "on cpu, meta; move")):
        with pytest.raises(ModelError, match=named):
            on_one_device(several)
    with pytest.raises(ModelError, match="the model has no parameters: give one that has"):
        on_one_device([])
