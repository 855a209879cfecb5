"""Recurrences over flipped sequences read them backwards, without the flip."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from tvm import relax

from tvm_kp.graph import import_torch, normalize, scan
from tvm_kp.graph.reverse_scan import ReverseScan
from tvm_kp.graph.rewrite import bindings, name_of


class Flipped(nn.Module):
    """A GRU over the flipped sequence, and what ``head`` makes of its results."""

    def __init__(self, head, axis, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.GRU(3, 4, **settings)
        self.head, self.axis = head, axis

    def forward(self, x):
        return self.head(x, *self.rnn(x.flip(self.axis)))


class ByHand(nn.Module):
    """Two directions of which one is written as flips."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.forwards, self.backwards = (nn.LSTM(3, 4, batch_first=True) for _ in range(2))

    def forward(self, x):
        y, _ = self.forwards(x)
        z, _ = self.backwards(x.flip(1))
        return torch.cat([y, z.flip(1)], -1)


def main(model, x):
    mod = normalize()(import_torch(model, (x,)))
    calls = [binding.value for binding in bindings(mod["main"])]
    flips = sum(name_of(value) == "relax.flip" for value in calls)
    return mod, flips, [found.reverse for found in map(scan.match, calls) if found]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("axis", [0, 1, -2])
@pytest.mark.parametrize(
    "head",
    [
        lambda x, y, h: h,
        lambda x, y, h: y[-1] if y.shape[1] < 3 else y[:, -1],
    ],
    ids=["state", "last"],
)
def test_final_state(assert_same, head, axis, batch):
    first = axis == 0
    model = Flipped(head, axis, batch_first=not first)
    x = torch.randn(5, batch, 3) if first else torch.randn(batch, 5, 3)
    mod, flips, reverse = main(model, x)
    assert (flips, reverse) == (0, [True])
    assert_same(mod, model, x)


@pytest.mark.parametrize("axis", [0, 1])
def test_flipped_back(assert_same, axis):
    model = Flipped(lambda x, y, h: (y.flip(axis), h), axis, batch_first=axis == 1)
    x = torch.randn((5, 1, 3) if axis == 0 else (1, 5, 3))
    mod, flips, reverse = main(model, x)
    assert (flips, reverse) == (0, [True])
    assert_same(mod, model, x)


def test_two_directions_by_hand(assert_same):
    model, x = ByHand(), torch.randn(1, 5, 3)
    mod, flips, reverse = main(model, x)
    assert (flips, sorted(reverse)) == (0, [False, True])
    assert_same(mod, model, x)


@pytest.mark.parametrize("axis", [0, 2])
def test_left_unchanged(assert_same, axis):
    """An output that would have to be flipped instead, a flip along another axis."""
    model = Flipped(lambda x, y, h: y, axis)
    x = torch.randn(5, 1, 3)
    mod, flips, reverse = main(model, x)
    assert (flips, reverse) == (1, [False])
    assert_same(mod, model, x)


def test_without_flips_nothing_changes(normalized):
    assert ReverseScan()(normalized).same_as(normalized)
    relax.analysis.well_formed(normalized)
