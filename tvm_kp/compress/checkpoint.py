"""The state of a training in a file, so that one that was cut off can go on."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import nn

from tvm_kp.errors import InputError, OutputError

_CHECKSUM_BYTES = 4


class Checkpoint:
    """The file ``path`` of the training with these ``settings``."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings

    def load(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> list[Sequence[float]]:
        """Puts back the state after the epochs that it returns; none without the file.

        Raises ``InputError`` for a file that is not the checkpoint of this training.
        """
        if not self.path.exists():
            return []
        advice = f"delete {self.path} to begin anew, or give another file"
        state = self._read(advice)
        if state["settings"] != self.settings:
            raise InputError(
                f"the checkpoint is of a training with {state['settings']}, this one has "
                f"{self.settings}; {advice}"
            )
        try:
            model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise InputError(f"{self.path} is a checkpoint of another model: {advice}") from error
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        history: list[Sequence[float]] = state["history"]
        return history

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        history: Sequence[Sequence[float]],
    ) -> None:
        """Writes the file anew, at once: a cut leaves the earlier one."""
        state = {
            "settings": self.settings,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "random": torch.get_rng_state(),
            "history": [list(epoch) for epoch in history],
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        part = self.path.with_name(self.path.name + ".part")
        try:
            part.write_bytes(_with_checksum(buffer.getvalue()))
            os.replace(part, self.path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OutputError(f"cannot write the checkpoint {self.path}: {error}") from error

    def _read(self, advice: str) -> dict[str, Any]:
        """What ``save`` has written; torch itself does not notice all damage."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            message = f"cannot read the checkpoint {self.path}: {error.strerror}; {advice}"
            raise InputError(message) from error
        contents = data[_CHECKSUM_BYTES:]
        if not contents or data != _with_checksum(contents):
            raise InputError(f"{self.path} is no checkpoint, or is damaged: {advice}")
        state: dict[str, Any] = torch.load(
            io.BytesIO(contents), map_location="cpu", weights_only=True
        )
        return state


def _with_checksum(data: bytes) -> bytes:
    return crc32(data).to_bytes(_CHECKSUM_BYTES, "big") + data
