"""Networks whose weights have each structure: found, compiled, and what PyTorch computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import tvm_kp

STRUCTURES = ["kronecker", "kronecker sum", "low rank", "hybrid", "three factors", "doped"]


class Net(nn.Module):
    """An LSTM of 12 inputs and 24 units with the joint weight ``w``, a layer with ``head``."""

    def __init__(self, w: np.ndarray, head: np.ndarray) -> None:
        super().__init__()
        self.rnn = nn.LSTM(12, 24, batch_first=True)
        self.head = nn.Linear(36, len(head))
        with torch.no_grad():
            self.rnn.weight_ih_l0.copy_(torch.from_numpy(w[:, :12]))
            self.rnn.weight_hh_l0.copy_(torch.from_numpy(w[:, 12:]))
            self.head.weight.copy_(torch.from_numpy(head))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.rnn(x)
        return torch.tanh(self.head(torch.cat([y[:, -1], x[:, 0]], dim=1)))


def test_tolerance_reaches_the_search(structured):
    random = np.random.default_rng(1)
    w = structured("low rank", random, 4)
    w += 0.01 * w.std() * random.standard_normal(w.shape).astype("float32")
    net = Net(w, random.standard_normal((5, 36)).astype("float32")).eval()
    example = (torch.zeros(1, 5, 12),)
    for tolerance, expected in ((0.0, {"dense"}), (0.03, {"low rank joint", "dense"})):
        options = tvm_kp.Options(tolerance=tolerance)
        model = tvm_kp.compile(net, "host", example_inputs=example, options=options).model
        assert {d.structure for d in model.decisions} == expected
        assert all(d.error <= tolerance for d in model.decisions)


@pytest.mark.parametrize("name", STRUCTURES)
def test_compiled_for_the_host(structured, name):
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    net = Net(structured(name, random, 4), structured(name, random)).eval()
    x = torch.from_numpy(random.uniform(-1, 1, (3, 1, 5, 12)).astype("float32"))
    compiled = tvm_kp.compile(net, "host", example_inputs=(x[0],))
    found = sorted(d.structure for d in compiled.model.decisions)
    assert found == [name, f"{name} joint"]
    with torch.no_grad():
        expected = np.stack([net(one).numpy() for one in x])
    result = tvm_kp.run(compiled.model, "host", {"x": x.numpy()})
    np.testing.assert_allclose(result.outputs["output"], expected, rtol=0, atol=1e-5)
