"""The paper's five benchmarks on real data: networks, methods compared, how they are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import torch
from classifier import Classifier
from datasets import Data
from torch import Tensor, nn

from tvm_kp.compress import FastRNN, ResetFirstGRU, apply
from tvm_kp.compress.forms import Form, Kronecker, LowRank, Pruned
from tvm_kp.compress.plans import Choice, Plan, sites

METHODS = ("dense", "small", "pruned", "low-rank", "kronecker", "reshaped", "hybrid")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; ``lr`` is the highest rate.

    ``temperature``, ``share`` and ``mix`` are those of the teacher, for networks that have one:
    where the small network overfits, more of softer scores and what lies between samples help, and
    where it underfits less does.
    """

    epochs: int
    lr: float
    batch_size: int = 64
    dropout: float = 0.0
    weight_decay: float = 0.0
    temperature: float = 2.0
    share: float = 0.7
    mix: float = 0.0


@dataclass(frozen=True)
class Benchmark:
    """A network of the paper, the data that stands for the paper's, and the forms compared.

    ``kronecker`` is the paper's shape for every gate of [W_ih | W_hh], ``reshaped`` another of
    about the same size and a larger rank, None if there is none, ``hybrid`` one with dense rows
    above. ``note`` says what the data is. The others learn from the dense network of their seed, or
    from the first ``teachers`` ones together.
    """

    name: str
    note: str
    load: Callable[[Path], Data]
    layer: Callable[[int, int], nn.Module]
    steps: int
    inputs: int
    hidden: int
    classes: int
    kronecker: Form
    reshaped: Form | None
    hybrid: Form
    dense: Recipe
    compressed: Recipe
    seeds: int = 3
    directions: int = 1
    teachers: int = 1

    def network(self, hidden: int, dropout: float = 0.0) -> Classifier:
        """With ``hidden`` units in each direction and new weights."""
        rnn = self.layer(self.inputs, hidden)
        return Classifier(rnn, self.directions * hidden, self.classes, dropout)

    @property
    def methods(self) -> tuple[str, ...]:
        """Those of ``METHODS`` that there is a form for."""
        return tuple(name for name in METHODS if name != "reshaped" or self.reshaped is not None)

    def as_tested(self, x: Tensor) -> Tensor:
        """Samples of training with the steps that those of testing have."""
        return x[:, :: -(-x.shape[1] // self.steps)].contiguous()

    def recipe(self, method: str) -> Recipe:
        """That of the dense network or of all others; pruned ones learn at the dense rate."""
        if method == "dense":
            return self.dense
        lr = self.dense.lr if method == "pruned" else self.compressed.lr
        return replace(self.compressed, lr=lr)

    def make(self, method: str) -> Classifier:
        """The network of ``method`` with new weights, as large as the one with ``kronecker``."""
        if method == "small":
            return self.network(self._small())
        network = self.network(self.hidden, self.recipe(method).dropout)
        choice = self.choice(method)
        if choice is not None:
            apply(network, Plan((choice,)), start="random")
        return network

    def choice(self, method: str) -> Choice | None:
        """The form that ``method`` gives the recurrent layer; None for a dense one."""
        if method in ("dense", "small"):
            return None
        if method == "pruned":
            return Choice("rnn", (Pruned(self._numbers / self._dense),))
        if method == "low-rank":
            rows, cols = self._gates * self.hidden, self.inputs + self.hidden
            rank = max(1, round(self._numbers / (rows + cols)))
            return Choice("rnn", (LowRank(rank),), stacked=True)
        form: Form = getattr(self, method)
        return Choice("rnn", (form,))

    @property
    def _gates(self) -> int:
        return next(iter(sites(self.network(1)).values())).gates

    @property
    def _dense(self) -> int:
        """Weights of one direction."""
        return self._gates * self.hidden * (self.inputs + self.hidden)

    @property
    def _numbers(self) -> int:
        """Of one direction in Kronecker form."""
        return self._gates * self.kronecker.parameters(self.hidden, self.inputs + self.hidden)

    def _small(self) -> int:
        """The hidden units of the dense layer whose size, with bias, comes nearest."""
        wanted = self._numbers + self._gates * self.hidden

        def missed(hidden: int) -> int:
            return abs(self._gates * hidden * (self.inputs + hidden + 1) - wanted)

        return min(range(1, self.hidden), key=missed)


def numbers(network: nn.Module) -> int:
    """Of the recurrent layer as the paper counts: what its weights are made of, and one bias.

    PyTorch's two biases only act as their sum. The two or four scalars of the FastRNN kinds count.
    """
    rnn = network.get_submodule("rnn")
    of_weights = kept_numbers(rnn)
    return of_weights + sum(
        parameter.numel()
        for name, parameter in rnn.named_parameters(recurse=False)
        if not name.startswith(("weight", "bias_hh"))
    )


def kept_numbers(rnn: nn.Module) -> int:
    """Numbers that the layer's weights are made of; of chosen entries those that are kept."""
    dense = sum(p.numel() for n, p in rnn.named_parameters(recurse=False) if n.startswith("weight"))
    masks = {name: int(mask.sum()) for name, mask in rnn.named_buffers() if name.endswith("mask")}
    inner = 0
    for name, parameter in rnn.named_parameters():
        if "." in name:
            chosen = name.endswith(("entries", "dense")) and name.rpartition(".")[0] + ".mask"
            inner += masks[chosen] if chosen in masks else parameter.numel()
    return dense + inner


def _lstm(inputs: int, hidden: int) -> nn.Module:
    return _open(nn.LSTM(inputs, hidden, batch_first=True))


def _both_ways(inputs: int, hidden: int) -> nn.Module:
    return _open(nn.LSTM(inputs, hidden, batch_first=True, bidirectional=True))


def _open(lstm: nn.LSTM) -> nn.LSTM:
    """Forget gates open at first (Jozefowicz et al. 2015): gradients reach the early steps."""
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if name.startswith("bias_ih"):
                parameter[lstm.hidden_size : 2 * lstm.hidden_size] += 1
    return lstm


def _gru(inputs: int, hidden: int) -> nn.Module:
    return ResetFirstGRU(inputs, hidden, batch_first=True)


def _fast_rnn(inputs: int, hidden: int) -> nn.Module:
    return FastRNN(inputs, hidden, batch_first=True)


_KEYWORDS = "the test set of Speech Commands v2, split by speaker: 3,956 to train on"
_KEYWORD_RECIPE = Recipe(100, 0.03, 128, weight_decay=0.02, share=1.0, mix=0.5)

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="MNIST-LSTM",
            note="MNIST, the original split",
            load=datasets.mnist,
            layer=_lstm,
            steps=28,
            inputs=28,
            hidden=40,
            classes=10,
            kronecker=Kronecker(((5, 17), (8, 4))),
            reshaped=None,
            hybrid=Kronecker(((3, 17), (13, 4)), dense_rows=1),
            dense=Recipe(12, 0.005, 128),
            compressed=Recipe(40, 0.01, 64, temperature=1.0, share=0.5),
            seeds=2,
        ),
        Benchmark(
            name="HAR1-BiLSTM",
            note="UCI HAR (smartphones) for Opportunity, at 25 Hz; 180 units for the paper's 179",
            load=datasets.har,
            layer=_both_ways,
            steps=64,
            inputs=9,
            hidden=180,
            classes=6,
            kronecker=Kronecker(((12, 21), (15, 9)), terms=3),
            reshaped=Kronecker(((9, 9), (20, 21)), terms=2),
            hybrid=Kronecker(((11, 9), (16, 21)), dense_rows=4),
            dense=Recipe(8, 0.002, dropout=0.3),
            compressed=Recipe(12, 0.01, weight_decay=0.01, temperature=1.0, share=0.5),
            seeds=1,
            directions=2,
        ),
        Benchmark(
            name="KWS-LSTM",
            note=_KEYWORDS,
            load=datasets.keywords,
            layer=_lstm,
            steps=25,
            inputs=10,
            hidden=118,
            classes=12,
            kronecker=Kronecker(((2, 16), (59, 8))),
            reshaped=None,
            hybrid=Kronecker(((9, 8), (13, 16)), dense_rows=1),
            dense=Recipe(60, 0.005, dropout=0.3),
            compressed=_KEYWORD_RECIPE,
            seeds=2,
            teachers=2,
        ),
        Benchmark(
            name="KWS-GRU",
            note=_KEYWORDS,
            load=datasets.keywords,
            layer=_gru,
            steps=25,
            inputs=10,
            hidden=154,
            classes=12,
            kronecker=Kronecker(((11, 41), (14, 4))),
            reshaped=Kronecker(((11, 4), (14, 41))),
            hybrid=Kronecker(((17, 4), (9, 41)), dense_rows=1),
            dense=Recipe(60, 0.005, dropout=0.3),
            compressed=_KEYWORD_RECIPE,
            seeds=1,
            teachers=2,
        ),
        Benchmark(
            name="USPS-FastRNN",
            note="USPS, the usual split",
            load=datasets.usps,
            layer=_fast_rnn,
            steps=16,
            inputs=16,
            hidden=32,
            classes=10,
            kronecker=Kronecker(((4, 12), (8, 4))),
            reshaped=Kronecker(((4, 6), (8, 8))),
            hybrid=Kronecker(((5, 6), (6, 8)), dense_rows=2),
            dense=Recipe(60, 0.01),
            compressed=Recipe(200, 0.03, 128, weight_decay=0.02),
            teachers=3,
        ),
    )
}
