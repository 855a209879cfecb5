"""The network of the demo and the benchmark: an LSTM layer and a linear head on its last output."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """``(N, T, I) -> (N, classes)``; ``rnn`` is ``nn.LSTM`` or ``KroneckerLSTM``, batch first."""

    def __init__(self, rnn: nn.Module, hidden: int, classes: int) -> None:
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        scores: Tensor = self.head(y[:, -1])
        return scores


def export(network: Classifier, x: Tensor) -> torch.export.ExportedProgram:
    """The program for one sample at a time, taken with the first of ``x`` (N, T, I)."""
    with warnings.catch_warnings():
        # torch says of every nn.LSTM that its list of flat weights is no buffer: harmless.
        warnings.filterwarnings("ignore", message=".*_flat_weights")
        return torch.export.export(network, (x[:1],))
