"""What the demo trains: two networks that read scikit-learn's handwritten digits row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from classifier import Classifier
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sklearn.datasets import load_digits
from torch import nn

from tvm_kp.compress import Epoch, KroneckerLSTM, fit

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
    with _progress(f"Training {recipe.name}", epochs, console) as progress, _one_thread():
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


@contextmanager
def _one_thread() -> Iterator[None]:
    """Threads gain nothing on networks this small, and on a busy machine wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _progress(title: str, epochs: int, console: Console) -> Iterator[Callable[[int, Epoch], None]]:
    """A bar on a terminal, elsewhere a line every twentieth epoch and after the last one."""

    def line(number: int, epoch: Epoch) -> str:
        return f"{title}: epoch {number + 1} of {epochs}, accuracy {epoch.accuracy:.1%}"

    if not console.is_terminal:

        def say(number: int, epoch: Epoch) -> None:
            if (number + 1) % 20 == 0 or number + 1 == epochs:
                console.print(line(number, epoch))

        yield say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=epochs)
        yield lambda number, epoch: bar.update(
            task, completed=number + 1, description=line(number, epoch)
        )
