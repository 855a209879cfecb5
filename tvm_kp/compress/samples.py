"""Samples with their classes, and how many of them a model gets right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tvm_kp.compress.plans import on_one_device
from tvm_kp.errors import InputError, ModelError, told

_PART = 512  # samples that are looked at together


@dataclass(frozen=True)
class Samples:
    """``x`` (N, …), float32, with the classes ``y`` (N,), int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def split(self, count: int, seed: int) -> tuple[Samples, Samples]:
        """All but ``count`` samples, and these, once ``seed`` has shuffled them."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        held, others = order[:count], order[count:]
        return Samples(self.x[others], self.y[others]), Samples(self.x[held], self.y[held])

    def guessed(self) -> float:
        """The share that is right for whoever always says the most frequent class."""
        return int(self.y.bincount().max()) / len(self)


def samples(arrays: Mapping[str, np.ndarray], file: Path) -> Samples:
    """The arrays x and y of ``file``; raises ``InputError`` for others."""
    if not arrays.keys() >= {"x", "y"}:
        raise InputError(
            f"{file} has {', '.join(arrays) or 'no arrays'}; it needs x, the samples (N, …) in "
            "float32, and y, their classes (N,): np.savez(file, x=x, y=y)"
        )
    x, y = arrays["x"], arrays["y"]
    if x.dtype != np.float32 or x.ndim < 2 or not x.size:
        raise InputError(
            f"x in {file} is {x.dtype} {x.shape}; give samples (N, …) in float32: "
            'x.astype("float32")'
        )
    if not np.isfinite(x).all():
        raise InputError(f"x in {file} has NaN or infinite values; leave such samples out")
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise InputError(
            f"y in {file} is {y.dtype} {y.shape}; give the class of each of the {len(x)} samples, "
            f"whole numbers ({len(x)},)"
        )
    if y.min() < 0:
        raise InputError(f"y in {file} has the class {y.min()}; classes count from 0")
    return Samples(torch.from_numpy(x), torch.from_numpy(y.astype(np.int64)))


def check_samples(model: nn.Module, given: Samples, file: Path) -> None:
    """Raises ``ModelError`` unless ``model`` gives scores (N, classes) for samples of ``file``.

    Raises ``InputError`` for samples of other classes.
    """
    kind, shape = type(model).__name__, tuple(given.x.shape[1:])
    try:
        scores = _scores(model, given.x[:2])
    except Exception as error:  # whatever the user's forward raises
        raise ModelError(
            f"{kind} cannot take samples {shape}, of which {file} has {len(given)}: {told(error)}"
        ) from error
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != len(given.x[:2]):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ModelError(
            f"for {len(given.x[:2])} samples {kind} gives {found}; it must give a score for each "
            "class, (N, classes), and nothing else"
        )
    classes, largest = scores.shape[1], int(given.y.max())
    if largest >= classes:
        raise InputError(
            f"y in {file} has the class {largest}, and {kind} gives scores of {classes} classes, "
            f"0 to {classes - 1}"
        )


def accuracy(model: nn.Module, given: Samples) -> float:
    """The share of samples whose class has the largest of the scores."""
    parts = zip(given.x.split(_PART), given.y.split(_PART), strict=True)
    right = sum(int((_scores(model, x).argmax(1).cpu() == y).sum()) for x, y in parts)
    return right / len(given)


def _scores(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        scores: Tensor = model(x.to(on_one_device(list(model.parameters()))))
    return scores
