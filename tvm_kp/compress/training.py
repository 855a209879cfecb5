"""Training of a classifier: Adam with a one-cycle rate, the same for every seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_CLIP = 1.0


@dataclass(frozen=True)
class Epoch:
    """Means over the samples of one epoch, taken while training: cross entropy, share right."""

    loss: float
    accuracy: float


def fit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int,
    progress: Callable[[int, Epoch], None] | None = None,
) -> list[Epoch]:
    """Trains ``model`` in place on samples ``x`` (N, …) with classes ``y`` (N,), int64.

    The learning rate climbs to ``lr`` and falls again over all ``epochs``; gradients are clipped
    to norm 1. The same seed, model and data give the same result. ``progress`` is called after
    each epoch with its number from 0. Leaves the model in eval mode.
    """
    batches = -(-len(x) // batch_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * batches)
    history = []
    model.train()
    # Dropout draws from the global generator: its state is the caller's, and put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number in range(epochs):
            loss = right = 0.0
            for chosen in torch.randperm(len(x)).split(batch_size):
                scores = model(x[chosen])
                loss += len(chosen) * _step(model, optimizer, scores, y[chosen])
                right += int((scores.argmax(1) == y[chosen]).sum())
                schedule.step()
            history.append(Epoch(loss / len(x), right / len(x)))
            if progress is not None:
                progress(number, history[-1])
    model.eval()
    return history


def _step(
    model: nn.Module, optimizer: torch.optim.Optimizer, scores: Tensor, classes: Tensor
) -> float:
    loss = nn.functional.cross_entropy(scores, classes)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
    optimizer.step()
    return loss.item()
