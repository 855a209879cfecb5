"""What stays the same in every step is computed in front of the loop."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from tvm import relax

from tvm_kp.compress import KroneckerLSTM
from tvm_kp.graph import FactorizeKronecker, import_torch, normalize, scan
from tvm_kp.graph.hoist_invariants import HoistInvariants
from tvm_kp.graph.rewrite import bindings, name_of

REPEATS = {
    "expand": lambda z: z.unsqueeze(1).expand(-1, 5, -1),
    "repeat": lambda z: z.unsqueeze(1).repeat(1, 5, 1),
    "constant": lambda z: torch.ones(len(z), 5, 3) / 2,
}


class Decoder(nn.Module):
    """A recurrent layer that sees one vector in every step."""

    def __init__(self, layer, repeat):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.repeat = layer, repeat

    def forward(self, z):
        return self.rnn(self.repeat(z))[0] + z.sum()


class Conditioned(nn.Module):
    """A loop in Python whose step sees a vector beside the row."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.of_x, self.of_h, self.of_z = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(3, 4)

    def forward(self, x, z):
        h = torch.zeros(1, 4)
        for t in range(6):
            h = torch.tanh(self.of_x(x[:, t]) + self.of_h(h) + torch.sigmoid(self.of_z(z)))
        return h


def counted(mod):
    """Sequences and products of the only loop."""
    (call,) = (c for c in (scan.match(b.value) for b in bindings(mod["main"])) if c)
    inside = [name_of(b.value) for b in bindings(mod[call.step])]
    return len(call.sequences), inside.count("relax.matmul")


def hoisted(model, *inputs):
    before = normalize()(import_torch(model.eval(), inputs))
    after = HoistInvariants()(FactorizeKronecker()(before))
    relax.analysis.well_formed(after)
    return before, after


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", REPEATS)
def test_a_repeated_row(assert_same, kind, batch, name):
    model, z = Decoder(kind(3, 4, batch_first=True), REPEATS[name]), torch.randn(batch, 3)
    before, after = hoisted(model, z)
    of_x = 2 if kind is nn.GRU else 1
    assert (counted(before), counted(after)) == ((1, 2 * of_x), (0, of_x))
    assert_same(after, model, z)


def test_two_directions(assert_same):
    layer = nn.LSTM(3, 4, batch_first=True, bidirectional=True)
    model, z = Decoder(layer, REPEATS["expand"]), torch.randn(1, 3)
    _, after = hoisted(model, z)
    assert not any(c.sequences for c in (scan.match(b.value) for b in bindings(after["main"])) if c)
    assert_same(after, model, z)


def test_a_joint_product_stays(assert_same):
    layer = KroneckerLSTM(3, 5, ((5, 4), (1, 2)), batch_first=True)
    model, z = Decoder(layer, REPEATS["expand"]), torch.randn(1, 3)
    _, after = hoisted(model, z)
    sequences, products = counted(after)
    assert sequences == 0 and products > 0
    assert_same(after, model, z)


def test_a_loop_in_python(assert_same):
    model, inputs = Conditioned(), (torch.randn(1, 6, 3), torch.randn(1, 3))
    _, after = hoisted(model, *inputs)
    assert counted(after) == (1, 2)
    assert_same(after, model, *inputs)


@pytest.mark.parametrize(
    "repeat",
    [
        lambda z: z.unsqueeze(1).repeat(1, 5, 1) * torch.arange(5.0).reshape(1, 5, 1),
        lambda z: z.reshape(1, 1, 3).repeat(1, 5, 1).transpose(1, 2)[:, :, :3].repeat(1, 2, 1),
        lambda z: z.reshape(1, 3, 1).expand(1, 3, 3),
        lambda z: torch.arange(15.0).reshape(1, 5, 3),
    ],
    ids=["scaled", "transposed", "other axis", "constant"],
)
def test_left_unchanged(assert_same, repeat):
    model, z = Decoder(nn.LSTM(3, 4, batch_first=True), repeat), torch.randn(1, 3)
    before, after = hoisted(model, z)
    assert counted(after) == counted(before) == (1, 2)
    assert_same(after, model, z)
