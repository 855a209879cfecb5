"""What the demo trains: two networks that read scikit-learn's handwritten digits row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from classifier import Classifier
from rich.console import Console
from sklearn.datasets import load_digits
from torch import nn

from tvm_kp.cli.console import epochs as epoch_lines
from tvm_kp.compress import KroneckerLSTM, fit
from tvm_kp.compress.training import one_thread

HIDDEN, CLASSES, TEST_IMAGES = 56, 10, 450


@dataclass(frozen=True)
class Recipe:
    """How one of the two networks is made and trained."""

    name: str
    make_rnn: Callable[[], nn.Module]
    epochs: int
    lr: float
    batch_size: int


RECIPES = (
    Recipe("dense", lambda: nn.LSTM(8, HIDDEN, batch_first=True), 40, 0.01, 32),
    Recipe("kronecker", lambda: KroneckerLSTM(8, HIDDEN, batch_first=True), 60, 0.04, 64),
)


@dataclass(frozen=True)
class Digits:
    """Images (N, 8, 8) with values from 0 to 1 and their digits (N,), shuffled and split."""

    train: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]


def load(images: int, seed: int) -> Digits:
    """The digits; ``TEST_IMAGES`` are kept for testing, the first ``images`` of them used."""
    data = load_digits()
    x = torch.tensor(data.images / 16, dtype=torch.float32)
    y = torch.tensor(data.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    test, train = order[: min(images, TEST_IMAGES)], order[TEST_IMAGES:]
    return Digits((x[train], y[train]), (x[test], y[test]))


def train(recipe: Recipe, digits: Digits, seed: int, epochs: int, console: Console) -> Classifier:
    """The network of ``recipe`` after ``epochs`` epochs, in eval mode."""
    torch.manual_seed(seed)
    network = Classifier(recipe.make_rnn(), HIDDEN, CLASSES)
    with epoch_lines(console, f"Training {recipe.name}", epochs, 20) as progress, one_thread():
        fit(
            network,
            *digits.train,
            epochs=epochs,
            lr=recipe.lr,
            batch_size=recipe.batch_size,
            seed=seed,
            progress=progress,
        )
    return network
