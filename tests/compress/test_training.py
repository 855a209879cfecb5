"""Training of a tiny problem: is the sum of a sequence positive?"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tvm_kp.compress import KroneckerLSTM, fit


class Classifier(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.rnn = KroneckerLSTM(2, 6, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.dropout(self.rnn(x)[0][:, -1]))


def trained(seed, dropout=0.0, epochs=3, **options):
    torch.manual_seed(0)
    model, x = Classifier(dropout), torch.randn(90, 5, 2)
    y = (x.sum((1, 2)) > 0).long()
    return model, fit(model, x, y, epochs=epochs, lr=0.03, batch_size=20, seed=seed, **options)


def test_learns():
    model, history = trained(0, epochs=30)
    assert len(history) == 30
    assert history[-1].accuracy > 0.9 and history[-1].loss < history[0].loss / 2
    assert not model.training


def test_a_seed_decides_everything():
    (first, _), (again, _), (other, _) = (trained(seed, dropout=0.2) for seed in (1, 1, 2))
    for one, two, three in zip(
        first.parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(one, two) and not torch.equal(one, three)


def test_leaves_the_global_generator_alone():
    trained(0)
    after = torch.rand(1)
    trained(1)
    assert torch.equal(after, torch.rand(1))


def test_reports_each_epoch():
    seen = []
    _, history = trained(0, progress=lambda number, epoch: seen.append((number, epoch)))
    assert seen == list(enumerate(history))
    assert history[0].loss == pytest.approx(0.69, abs=0.2)
    assert 0 <= history[0].accuracy <= 1
