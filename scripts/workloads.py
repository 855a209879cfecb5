"""The paper's five workloads, with random weights that are Kronecker products."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tvm_kp.compress import KroneckerFastRNN, KroneckerGRU, KroneckerLSTM
from tvm_kp.kronecker import Factors

SEED, INFERENCES = 0, 3


@dataclass(frozen=True)
class Workload:
    """T steps of I inputs, H hidden units in each of the directions, and the layer that makes them.

    ``factors`` are those of every gate, on [W_ih | W_hh] or, two pairs, on W_ih and on W_hh.
    """

    steps: int
    inputs: int
    hidden: int
    classes: int
    factors: tuple[Factors, ...]
    layer: Callable[[Workload], nn.Module]
    directions: int = 1

    @property
    def text(self) -> str:
        return ", ".join(f"({a}×{b})⊗({c}×{d})" for (a, b), (c, d) in self.factors)


class Network(nn.Module):
    """``(1, T, I) -> (1, classes)``: a linear layer on the final state of every direction."""

    def __init__(self, work: Workload) -> None:
        super().__init__()
        self.rnn = work.layer(work)
        self.head = nn.Linear(work.directions * work.hidden, work.classes)

    def forward(self, x: Tensor) -> Tensor:
        _, states = self.rnn(x)
        h = states[0] if isinstance(states, tuple) else states
        scores: Tensor = self.head(h.transpose(0, 1).flatten(1))
        return scores


@dataclass(frozen=True)
class Sample:
    """A network, what torch.export makes of it, inputs (N, 1, T, I) and its own outputs."""

    network: Network
    program: torch.export.ExportedProgram
    x: Tensor
    expected: Tensor


def sample(work: Workload) -> Sample:
    """The network of ``work`` with seeded weights, and ``INFERENCES`` inputs."""
    torch.manual_seed(SEED)
    network = Network(work).eval()
    x = torch.randn(INFERENCES, 1, work.steps, work.inputs)
    with torch.no_grad(), warnings.catch_warnings():
        # torch says of every nn.LSTM that its list of flat weights is no buffer: harmless.
        warnings.filterwarnings("ignore", message=".*_flat_weights")
        expected = torch.stack([network(one) for one in x])
        return Sample(network, torch.export.export(network, (x[0],)), x, expected)


def decibels(found: np.ndarray, expected: np.ndarray) -> float:
    """The ratio of signal to noise of ``found``."""
    noise = np.square(found.astype(np.float64) - expected).sum()
    return float(10 * np.log10(np.square(expected.astype(np.float64)).sum() / noise))


def _lstm(work: Workload) -> nn.Module:
    return KroneckerLSTM(work.inputs, work.hidden, work.factors[0], batch_first=True)


def _gru(work: Workload) -> nn.Module:
    sizes = (work.inputs, work.hidden, work.factors[0])
    return KroneckerGRU(*sizes, batch_first=True, reset_after=False)


def _fast_rnn(work: Workload) -> nn.Module:
    return KroneckerFastRNN(work.inputs, work.hidden, work.factors[0], batch_first=True)


def _bidirectional_lstm(work: Workload) -> nn.Module:
    """``nn.LSTM``, every gate of whose weights is a product: found in the numbers."""
    rnn = nn.LSTM(work.inputs, work.hidden, batch_first=True, bidirectional=True)
    of_input, of_hidden = work.factors
    with torch.no_grad():
        for name, weight in rnn.named_parameters():
            if name.startswith("weight"):
                a, b = of_input if "ih" in name else of_hidden
                spread = float(weight.std()) ** 0.5
                gates = [
                    torch.kron(spread * torch.randn(a), spread * torch.randn(b)) for _ in range(4)
                ]
                weight.copy_(torch.cat(gates))
    return rnn


WORKLOADS = {
    "MNIST-LSTM": Workload(28, 28, 40, 10, (((5, 17), (8, 4)),), _lstm),
    "KWS-LSTM": Workload(25, 10, 118, 12, (((2, 16), (59, 8)),), _lstm),
    "KWS-GRU": Workload(25, 10, 154, 12, (((11, 41), (14, 4)),), _gru),
    # The paper's 179 units are a prime, and [W_ih | W_hh] of 180 has 77 + 180 = 257 columns,
    # another: a joint product would have rank 1.
    "HAR1-BiLSTM": Workload(
        *(81, 77, 180, 18, (((12, 11), (15, 7)), ((12, 15), (15, 12)))),
        layer=_bidirectional_lstm,
        directions=2,
    ),
    "USPS-FastRNN": Workload(16, 16, 32, 10, (((4, 12), (8, 4)),), _fast_rnn),
}
