from __future__ import annotations

import numpy as np
import pytest
import torch
import tvm
from torch import nn
from tvm import relax

from tvm_kp.errors import ModelError
from tvm_kp.graph import import_torch
from tvm_kp.graph.lstm import lstm_step
from tvm_kp.graph.rewrite import bindings, name_of


@pytest.mark.parametrize("batch", [1, 3])
def test_step_is_that_of_an_lstm_cell(on_vm, batch):
    cell = nn.LSTMCell(3, 4)
    w_ih, w_hh, b_ih, b_hh = (p.detach().numpy() for p in cell.parameters())
    step = lstm_step(w_ih, w_hh, b_ih + b_hh, batch).with_attr("global_symbol", "main")
    x, h, c = torch.randn(batch, 3), torch.randn(batch, 4), torch.randn(batch, 4)
    y, new_h, new_c = on_vm(tvm.IRModule({"main": step}), x, h, c)
    with torch.no_grad():
        expected_h, expected_c = cell(x, (h, c))
    np.testing.assert_array_equal(y, new_h)
    np.testing.assert_allclose(new_h, expected_h, rtol=0, atol=1e-6)
    np.testing.assert_allclose(new_c, expected_c, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("bias", "adds"), [(0.0, 2), (1.0, 3)])
def test_a_bias_of_zeros_is_left_out(bias, adds):
    zeros = np.zeros((8, 3), "float32"), np.zeros((8, 2), "float32")
    step = lstm_step(*zeros, np.full(8, bias, "float32"), batch=1)
    assert isinstance(step, relax.Function)
    names = [name_of(binding.value) for binding in bindings(step)]
    assert names.count("relax.add") == adds


class Holder(nn.Module):
    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x):
        return self.rnn(x)[0]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"num_layers": 2}, "2 layers"),
        ({"bidirectional": True}, "two directions"),
        ({"proj_size": 2}, r"a projection \(proj_size\)"),
        ({"num_layers": 2, "bidirectional": True, "bias": False}, "2 layers"),
    ],
)
def test_other_lstms_are_refused(settings, found):
    model = Holder(nn.LSTM(3, 4, **settings))
    pattern = rf"layer rnn \(LSTM\) is an LSTM with {found}; supported: LSTM with one layer"
    with pytest.raises(ModelError, match=pattern):
        import_torch(model, (torch.zeros(2, 1, 3),))


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
