"""The paper's five workloads: with random weights that are Kronecker products, or trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from classifier import Classifier, export
from torch import Tensor, nn

from tvm_kp.compress import KroneckerFastRNN, KroneckerGRU, KroneckerLSTM
from tvm_kp.errors import InputError
from tvm_kp.kronecker import Factors

SEED, INFERENCES, CALIBRATION_INPUTS = 0, 3, 16


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


@dataclass(frozen=True)
class Sample:
    """A network of T steps, what torch.export makes of it, inputs (N, 1, T, I) and its outputs.

    ``calibration`` are other inputs.
    """

    network: nn.Module
    program: torch.export.ExportedProgram
    steps: int
    x: Tensor
    expected: Tensor
    calibration: np.ndarray


def sample(work: Workload) -> Sample:
    """The network of ``work`` with seeded weights, and ``INFERENCES`` inputs."""
    torch.manual_seed(SEED)
    features = work.directions * work.hidden
    network = Classifier(work.layer(work), features, work.classes).eval()
    x = torch.randn(INFERENCES, 1, work.steps, work.inputs)
    with torch.no_grad():
        expected = torch.stack([network(one) for one in x])
    shape = (CALIBRATION_INPUTS, *x.shape[1:])
    others = np.random.default_rng(1).standard_normal(shape).astype("float32")
    return Sample(network, export(network, x[0]), work.steps, x, expected, others)


def trained(name: str, folder: Path) -> Sample:
    """The network ``name`` that ``scripts/reproduce --networks`` has written to ``folder``."""
    try:
        program = torch.export.load(folder / f"{name}.pt2")
        with np.load(folder / f"{name}.npz") as arrays:
            x = torch.from_numpy(arrays["x"])
    except OSError as error:
        raise InputError(
            f"cannot read {name}.pt2 and {name}.npz in {folder}: {error.strerror or error}; "
            f"scripts/reproduce --networks {folder} writes them"
        ) from error
    network = program.module()
    with torch.no_grad():
        expected = torch.stack([network(one) for one in x[:INFERENCES]])
    return Sample(network, program, x.shape[2], x[:INFERENCES], expected, x[INFERENCES:].numpy())


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
