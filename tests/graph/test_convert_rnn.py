from __future__ import annotations

import pytest
import torch
from torch import nn

from tvm_kp.errors import ModelError
from tvm_kp.graph import import_torch, normalize, scan
from tvm_kp.graph.rewrite import bindings, functions, name_of


class Loop(nn.Module):
    """A cell of PyTorch's in a Python loop."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x):
        state = None
        for row in x:
            state = self.cell(row, state)
        return state


def scans(mod):
    found = (scan.match(binding.value) for binding in bindings(mod["main"]))
    return [call for call in found if call is not None]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_one_scan_a_layer_and_direction(kind):
    model = kind(3, 4, num_layers=2, bidirectional=True)
    calls = scans(import_torch(model, (torch.zeros(5, 1, 3),)))
    assert [call.reverse for call in calls] == [False, True, False, True]
    assert [call.steps for call in calls] == [5] * 4
    assert [call.step.name_hint for call in calls] == [
        "model_l0_step",
        "model_l0_reverse_step",
        "model_l1_step",
        "model_l1_reverse_step",
    ]


@pytest.mark.parametrize(
    "cell", [nn.LSTMCell(3, 4), nn.GRUCell(3, 4, bias=False), nn.RNNCell(3, 4, nonlinearity="relu")]
)
def test_cells_in_a_loop(cell, assert_same):
    model, x = Loop(cell), torch.linspace(-1, 1, 30).reshape(5, 2, 3)
    assert_same(normalize()(import_torch(model, (x,))), model, x)


def test_calls_of_a_cell_share_its_weights():
    mod = import_torch(Loop(nn.GRUCell(3, 4)), (torch.zeros(5, 1, 3),))
    products = [
        b.value
        for _, f in functions(mod)
        for b in bindings(f)
        if name_of(b.value) == "relax.matmul"
    ]
    assert len(products) == 5 * 4
    assert len({product.args[1] for product in products}) == 4


def test_training_mode_with_dropout_is_refused():
    program = torch.export.export(nn.LSTM(3, 4, 2, dropout=0.5).train(), (torch.zeros(5, 1, 3),))
    with pytest.raises(ModelError, match=r"was exported in training mode; use model\.eval"):
        import_torch(program)


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4)

    def forward(self, x):
        lengths = torch.tensor([5, 3])
        return self.rnn(nn.utils.rnn.pack_padded_sequence(x, lengths))[1]


def test_packed_sequence_is_refused():
    with pytest.raises(ModelError, match="the model packs a sequence"):
        import_torch(Packed(), (torch.zeros(5, 2, 3),))


class InputWeight(nn.Module):
    def forward(self, x, w):
        zeros = torch.zeros(1, 1, 2)
        y, _, _ = torch.lstm(
            x, (zeros, zeros), [w, w[:, :2] * 1.0], False, 1, 0.0, False, False, False
        )
        return y


def test_weights_that_are_inputs_are_refused():
    with pytest.raises(ModelError, match="weight that depends on the input w; weights must be"):
        import_torch(InputWeight(), (torch.zeros(2, 1, 3), torch.zeros(8, 3)))
