"""The network of the demo and the benchmarks: a recurrent layer and a linear head on its state."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import log

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """``(N, T, I) -> (N, classes)``; ``rnn`` is a recurrent layer, batch first.

    The head reads the final state of every direction, ``features`` in all.
    """

    def __init__(self, rnn: nn.Module, features: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.rnn = rnn
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        _, states = self.rnn(x)
        h = states[0] if isinstance(states, tuple) else states
        scores: Tensor = self.head(self.dropout(h.transpose(0, 1).flatten(1)))
        return scores


class Ensemble(nn.Module):
    """``(N, T, I) -> (N, classes)``: scores with the mean of the networks' probabilities."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        likely = [torch.log_softmax(network(x), 1) for network in self.networks]
        return torch.logsumexp(torch.stack(likely), 0) - log(len(likely))


def export(network: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    """The program for one sample at a time, taken with the first of ``x`` (N, T, I)."""
    with warnings.catch_warnings():
        # torch says of every nn.LSTM that its list of flat weights is no buffer: harmless.
        warnings.filterwarnings("ignore", message=".*_flat_weights")
        return torch.export.export(network, (x[:1],))
