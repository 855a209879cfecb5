from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tvm_kp.graph import import_torch, normalize, scan
from tvm_kp.graph.rewrite import bindings


class Stack(nn.Module):
    """A recurrence over another one's output, and what ``head`` makes of (y, h, z, g)."""

    def __init__(self, head, layers=1, batch_first=False, **settings) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.GRU(3, 4, layers, batch_first=batch_first)
        self.second = nn.GRU(4, 5, batch_first=batch_first, **settings)
        self.head = head

    def forward(self, x):
        y, h = self.first(x)
        z, g = self.second(y)
        return self.head(y, h, z, g)


def scans(mod):
    found = (scan.match(binding.value) for binding in bindings(mod["main"]))
    return [call for call in found if call is not None]


FUSED = {
    "final state": lambda y, h, z, g: g,
    "last output": lambda y, h, z, g: z[-1],
    "output sequence": lambda y, h, z, g: z,
    "all but the first sequence": lambda y, h, z, g: (z, h, g),
}
APART = {
    "first sequence": lambda y, h, z, g: (y, g),
    "a row of it": lambda y, h, z, g: (y[1], g),
    "work on it": lambda y, h, z, g: (torch.tanh(y), g),
}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", FUSED)
def test_stacked_recurrences_share_a_loop(assert_same, name, batch):
    model, x = Stack(FUSED[name]), torch.linspace(-1, 1, 15 * batch).reshape(5, batch, 3)
    mod = normalize()(import_torch(model, (x,)))
    (call,) = scans(mod)
    assert len(call.states) == 2
    assert_same(mod, model, x)


@pytest.mark.parametrize("name", APART)
def test_a_sequence_that_others_read_is_kept(assert_same, name):
    model, x = Stack(APART[name]), torch.linspace(-1, 1, 15).reshape(5, 1, 3)
    mod = normalize()(import_torch(model, (x,)))
    assert len(scans(mod)) == 2
    assert_same(mod, model, x)


def test_opposite_directions_stay_apart(assert_same):
    model = Stack(lambda y, h, z, g: g, bidirectional=True)
    x = torch.linspace(-1, 1, 15).reshape(5, 1, 3)
    mod = normalize()(import_torch(model, (x,)))
    assert [call.reverse for call in scans(mod)].count(True) == 1
    assert_same(mod, model, x)


class Decoder(Stack):
    def forward(self, x):
        y, h = self.first(x)
        return self.second(y, torch.tanh(torch.cat([h, h[..., :1]], -1)))[1]


def test_initial_state_from_the_first_recurrence_keeps_them_apart(assert_same):
    model, x = Decoder(None), torch.linspace(-1, 1, 15).reshape(5, 1, 3)
    mod = normalize()(import_torch(model, (x,)))
    assert len(scans(mod)) == 2
    assert_same(mod, model, x)


@settings(max_examples=6)
@given(st.sampled_from(["LSTM", "GRU", "RNN"]), st.integers(2, 4), st.booleans())
def test_layers_of_one_module_share_a_loop(assert_same, kind, layers, batch_first):
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = getattr(nn, kind)(3, 4, layers, batch_first=batch_first)

        def forward(self, x):
            return self.rnn(x)[0][:, -1] if batch_first else self.rnn(x)[0][-1]

    torch.manual_seed(0)
    model, x = Layers(), torch.linspace(-1, 1, 15).reshape((1, 5, 3) if batch_first else (5, 1, 3))
    mod = normalize()(import_torch(model, (x,)))
    assert len(scans(mod)) == 1
    assert_same(mod, model, x)
