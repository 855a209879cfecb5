"""Calls of kernels that are tried, and the files with them between the harness and the host, as
templates/trials/files/main.c has them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Call = tuple[int, np.ndarray]  # index of the trial, memory
Ending = tuple[str, str]  # kind of a failure, message

_HEADER = struct.Struct("<IIQ")


@dataclass(frozen=True)
class Trial:
    """A kernel to measure.

    ``object`` is an object file that defines ``void <symbol>(unsigned char *memory)``; what else
    it defines is static. It is called once for each of ``memories``, (nbytes,) uint8 arrays of one
    size: what lies in memory, at a multiple of 32, before the call.
    """

    symbol: str
    object: Path
    memories: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class TrialRun:
    """One call: its instructions, and what lies in memory after it, (nbytes,) uint8.

    An attached board counts ``cycles`` and no instructions; those of an emulated one are an
    estimate, see `tvm_kp.board.cycles`. Both are with the call and the return.
    """

    instructions: int | None
    memory: np.ndarray
    cycles: float | None = None

    @property
    def spent(self) -> float:
        """The cycles if they are known, or the instructions."""
        found = self.instructions if self.cycles is None else self.cycles
        assert found is not None
        return found

    @property
    def unit(self) -> str:
        """That of ``spent``."""
        return "instructions" if self.cycles is None else "cycles"


@dataclass(frozen=True)
class TrialResult:
    """The calls of a trial: all, or those before it failed.

    ``failure`` is "", "fault" or "hang"; ``message`` says in one line what happened.
    """

    runs: tuple[TrialRun, ...]
    failure: str = ""
    message: str = ""


def too_long(limit: int, unit: str) -> Ending:
    """What a call is told to be that takes the ``limit``, in ``unit``."""
    return "hang", f"a call takes {limit} {unit} or more"


def write_inputs(path: Path, calls: Sequence[Call]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<I", len(calls)))
        for index, memory in calls:
            file.write(_HEADER.pack(index, memory.nbytes, 0))
            file.write(memory.tobytes())


def read_outputs(path: Path, calls: Sequence[Call]) -> Iterator[tuple[int, np.ndarray]]:
    """Instructions and memory of each of ``calls``, in order, up to what cannot be one of them."""
    content = np.fromfile(path, np.uint8)
    begin = 0
    for index, memory in calls:
        body = begin + _HEADER.size
        end = body + memory.nbytes
        if end > content.size:
            return
        kernel, size, instructions = _HEADER.unpack(content[begin:body].tobytes())
        if (kernel, size) != (index, memory.nbytes):
            return
        yield instructions, content[body:end]
        begin = end
