"""Every tensor of a module, in every time step, is what the module computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tvm_kp import graph
from tvm_kp.graph import scan
from tvm_kp.graph.observe import observer
from tvm_kp.graph.rewrite import bindings, returned

STEPS = 5


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        y, (_, c) = self.rnn(x)
        return self.head(y.mean(0)), y, c


@pytest.mark.parametrize("steps", [1, STEPS])
def test_outputs_are_among_what_is_seen(steps):
    model, x = Both().eval(), torch.linspace(-1, 1, steps * 3).reshape(steps, 1, 3)
    mod = graph.arrange()(graph.normalize()(graph.import_torch(model, (x,))))
    seen = observer(mod)([x.numpy()])
    expected = [y.detach().numpy() for y in model(x)]
    for result, wanted in zip(returned(mod["main"]), expected, strict=True):
        np.testing.assert_allclose(seen[result], wanted, rtol=0, atol=1e-5)


def test_states_of_a_reverse_direction_are_stacked_in_the_order_of_the_sequence():
    model = nn.RNN(3, 4, bidirectional=True).eval()
    x = torch.linspace(-1, 1, STEPS * 3).reshape(STEPS, 1, 3)
    mod = graph.normalize()(graph.import_torch(model, (x,)))
    seen, (y, _) = observer(mod)([x.numpy()]), model(x)
    calls = [c for b in bindings(mod["main"]) if (c := scan.match(b.value)) is not None]
    for call, part in zip(calls, (y[..., :4], y[..., 4:]), strict=True):
        state = returned(mod[call.step])[-1]
        np.testing.assert_allclose(seen[state], part.detach().numpy(), rtol=0, atol=1e-5)
