"""Training of a classifier: Adam with a one-cycle rate, the same for every seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from tvm_kp.compress.apply import anneal
from tvm_kp.compress.checkpoint import Checkpoint
from tvm_kp.compress.plans import on_one_device
from tvm_kp.errors import InputError

_CLIP = 1.0
_PART = 512  # samples that a teacher looks at together


@dataclass(frozen=True)
class Epoch:
    """Means over the samples of one epoch, taken while training: loss, share right."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Teacher:
    """A trained ``model`` whose scores are learned too (Hinton et al. 2015, arXiv 1503.02531).

    The loss is (1 − ``share``) · cross entropy + ``share`` · t² · KL divergence of the softmax of
    both models' scores over the ``temperature`` t.

    With ``mix`` m both see each sample moved towards another of its batch, by a share of the way
    that is drawn from 0 to m (Beyer et al. 2022, arXiv 2106.05237): where samples are few, what
    lies between them teaches too. The class is still that of the sample, so ``share`` is best 1.
    """

    model: nn.Module
    temperature: float = 2.0
    share: float = 0.7
    mix: float = 0.0

    def scores(self, x: Tensor) -> Tensor:
        """The model's scores of the samples ``x``, without gradients."""
        with torch.no_grad():
            scores: Tensor = self.model(x)
        return scores

    def loss(self, scores: Tensor, wanted: Tensor, classes: Tensor) -> Tensor:
        """Of ``scores`` where the teacher gave ``wanted``, both (N, classes)."""
        found, target = (torch.log_softmax(s / self.temperature, 1) for s in (scores, wanted))
        divergence = nn.functional.kl_div(found, target, reduction="batchmean", log_target=True)
        error = nn.functional.cross_entropy(scores, classes)
        return error + self.share * (self.temperature**2 * divergence - error)


def fit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int,
    weight_decay: float = 0.0,
    augment: Callable[[Tensor], Tensor] | None = None,
    teacher: Teacher | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[int, Epoch], None] | None = None,
) -> list[Epoch]:
    """Trains ``model`` in place on samples ``x`` (N, …) with classes ``y`` (N,), int64.

    The learning rate climbs to ``lr`` and falls again over all ``epochs``; gradients are clipped
    to norm 1, and ``weight_decay`` is apart from the gradient (AdamW). ``augment`` changes the
    samples of a batch before they are used. Entries of pruned and doped weights are chosen on the
    way. Batches go to the model's device. The same seed, model and data give the same result.

    ``progress`` is called after each epoch with its number from 0. With ``checkpoint`` the state
    is kept in that file after each epoch, and training goes on from there if the file exists.
    Leaves the model in eval mode. Raises ``ModelError`` for a model on several devices, and
    ``InputError`` for a checkpoint of another training and for a teacher's ``mix`` of samples that
    are no floats.
    """
    device = on_one_device(list(model.parameters()))
    batches = -(-len(x) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * batches)
    settings: dict[str, Any] = {
        **{"epochs": epochs, "lr": lr, "batch_size": batch_size, "weight_decay": weight_decay},
        **{"seed": seed, "data": _checksum(x, y), "teacher": None},
    }
    if teacher is not None:
        taught = _checksum(*teacher.model.state_dict().values())
        settings["teacher"] = [teacher.temperature, teacher.share, teacher.mix, taught]
    history: list[Epoch] = []
    lesson = _Lesson(model, x, y, augment, teacher, device)
    # Dropout draws from the global generator: its state is the caller's, and put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kept = None if checkpoint is None else Checkpoint(checkpoint, settings)
        if kept is not None:
            history += [Epoch(*epoch) for epoch in kept.load(model, optimizer, schedule)]
        model.train()
        anneal(model, len(history) / epochs)
        for number in range(len(history), epochs):
            loss = right = 0.0
            for batch, chosen in enumerate(torch.randperm(len(x)).split(batch_size), 1):
                error, correct = lesson(chosen)
                _step(model, optimizer, error)
                schedule.step()
                anneal(model, (number + batch / batches) / epochs)
                loss += len(chosen) * error.item()
                right += correct
            history.append(Epoch(loss / len(x), right / len(x)))
            if kept is not None:
                kept.save(model, optimizer, schedule, [(e.loss, e.accuracy) for e in history])
            if progress is not None:
                progress(number, history[-1])
    model.eval()
    return history


@contextmanager
def one_thread() -> Iterator[None]:
    """Threads gain nothing on networks this small, and on a busy machine wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Lesson:
    """What ``model`` is to learn of the samples ``x``: their classes ``y``, a teacher's scores."""

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        augment: Callable[[Tensor], Tensor] | None,
        teacher: Teacher | None,
        device: torch.device,
    ) -> None:
        self.model, self.x, self.y, self.device = model, x, y, device
        self.augment, self.teacher = augment, teacher
        self.wanted: Tensor | None = None
        if teacher is not None:
            teacher.model.eval()
            if teacher.mix and not x.is_floating_point():
                raise InputError(f"mix {teacher.mix} of {x.dtype} samples; leave it out")
            # Where the samples stay the same, so do the teacher's scores.
            if augment is None and not teacher.mix:
                parts = x.split(_PART)
                self.wanted = torch.cat([teacher.scores(part.to(device)) for part in parts])

    def __call__(self, chosen: Tensor) -> tuple[Tensor, int]:
        """The loss of the samples numbered ``chosen``, and how many are right."""
        inputs = self.x[chosen] if self.augment is None else self.augment(self.x[chosen])
        if self.teacher is not None and self.teacher.mix:
            inputs = _mixed(inputs, self.teacher.mix)
        inputs, classes = inputs.to(self.device), self.y[chosen].to(self.device)
        scores = self.model(inputs)
        right = int((scores.argmax(1) == classes).sum())
        if self.teacher is None:
            return nn.functional.cross_entropy(scores, classes), right
        wanted = self.teacher.scores(inputs) if self.wanted is None else self.wanted[chosen]
        return self.teacher.loss(scores, wanted, classes), right


def _mixed(x: Tensor, most: float) -> Tensor:
    """Each sample of ``x`` (N, …) moved by a share up to ``most`` towards another, or itself."""
    share = most * torch.rand(len(x), *[1] * (x.dim() - 1), dtype=x.dtype, device=x.device)
    return torch.lerp(x, x[torch.randperm(len(x))], share)


def _checksum(*tensors: Tensor) -> int:
    result = 0
    for tensor in tensors:
        octets = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        result = crc32(octets.data, result)
    return result


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, error: Tensor) -> None:
    optimizer.zero_grad()
    error.backward()
    nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
    optimizer.step()
