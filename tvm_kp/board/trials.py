"""Trying kernels: many in one image, all measured in one start of the emulator.

A kernel that faults or does not end takes the emulator with it; what comes after is measured in
another start. It can do little to the others: see templates/trials/isolate.h.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_kp.board import emulator, toolchain
from tvm_kp.board.trial_image import build_image
from tvm_kp.errors import FitError, RunError
from tvm_kp.target import Target

_HEADER = struct.Struct("<IIQ")  # as templates/trials/main.c has it

# How the firmware ends, and how the emulator after a fault that cannot be handled.
_FAULT, _LIMIT, _LOCKUP = 3, 4, -6

_Call = tuple[int, np.ndarray]  # index of the trial, memory
_Failure = tuple[str, str]  # kind, message


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
    """One call: its instructions, and what lies in memory after it, (nbytes,) uint8."""

    instructions: int
    memory: np.ndarray


@dataclass(frozen=True)
class TrialResult:
    """The calls of a trial: all, or those before it failed.

    ``failure`` is "", "fault" or "hang"; ``message`` says in one line what happened.
    """

    runs: tuple[TrialRun, ...]
    failure: str = ""
    message: str = ""


def compile_trial(source: str, symbol: str, target: Target, folder: Path) -> Path:
    """The object of ``source``, which defines ``symbol``, compiled in ``folder`` as a model is.

    Raises MissingToolError, BuildError.
    """
    path = folder / f"{symbol}.c"
    path.write_text(source, encoding="utf-8")
    (result,) = toolchain.compile_objects([path], target, folder, toolchain.MODEL_CFLAGS)
    return result


def run_trials(
    trials: Sequence[Trial], target: Target, *, limit: int, timeout_s: float | None = None
) -> list[TrialResult]:
    """Call every trial's kernel with each of its memories, on a ``target`` that is emulated.

    A call that takes ``limit`` instructions or more hangs. So does one that makes the emulator
    write nothing for ``timeout_s`` (default: the target's), which is for what no counter ends.

    Raises MissingToolError, BuildError, FitError, and RunError for what no trial is guilty of.
    """
    kernels = [(t.symbol, t.object) for t in trials]
    memory_bytes = max((memory.nbytes for t in trials for memory in t.memories), default=0)
    with tempfile.TemporaryDirectory(prefix="tvm_kp-") as name:
        try:
            image = build_image(kernels, memory_bytes, limit, target, Path(name))
        except FitError:
            # All together may not fit where each does.
            if len(trials) < 2:
                raise
            middle = len(trials) // 2
            halves = trials[:middle], trials[middle:]
            return [
                result
                for half in halves
                for result in run_trials(half, target, limit=limit, timeout_s=timeout_s)
            ]
        return _run(trials, image, target, limit, timeout_s or target.runner.timeout_s)


def _run(
    trials: Sequence[Trial], image: Path, target: Target, limit: int, timeout_s: float
) -> list[TrialResult]:
    """What ``image`` has of every trial, started again after each that fails."""
    calls = [(index, memory) for index, t in enumerate(trials) for memory in t.memories]
    runs: list[list[TrialRun]] = [[] for _ in trials]
    failures: dict[int, _Failure] = {}
    while calls:
        done, failure = _start(image, target, calls, limit, timeout_s)
        for (index, _), run in zip(calls, done, strict=False):
            # The counter's own limit is coarser.
            if run.instructions >= limit:
                failures.setdefault(index, _too_long(limit))
            if index not in failures:
                runs[index].append(run)
        if failure:
            failures.setdefault(calls[len(done)][0], failure)
        calls = [call for call in calls[len(done) :] if call[0] not in failures]
    return [TrialResult(tuple(r), *failures.get(i, ())) for i, r in enumerate(runs)]


def _start(
    image: Path, target: Target, calls: Sequence[_Call], limit: int, timeout_s: float
) -> tuple[list[TrialRun], _Failure | None]:
    """The first of ``calls``, up to the one that failed, and how it did."""
    with tempfile.TemporaryDirectory(prefix="tvm_kp-") as name:
        outputs = Path(name) / "outputs.bin"
        outputs.touch()
        _write_inputs(Path(name) / "inputs.bin", calls)
        status, text = _emulate(emulator.command(image, target), outputs, timeout_s)
        done = list(_results(outputs, calls))
    if len(done) == len(calls):
        return done, None
    if status is None:
        message = f"{target.name} was stopped after {timeout_s:g} s without a result"
        return done, ("hang", message)
    if status == _LIMIT:
        return done, _too_long(limit)
    message = emulator.failure(text, status, image, target)
    # An end without all results is a fault, too: a kernel changed what the harness does.
    if status not in (0, _FAULT, _LOCKUP):
        raise RunError(message)
    return done, ("fault", message)


def _too_long(limit: int) -> _Failure:
    return "hang", f"a call takes {limit} instructions or more"


def _write_inputs(path: Path, calls: Sequence[_Call]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<I", len(calls)))
        for index, memory in calls:
            file.write(_HEADER.pack(index, memory.nbytes, 0))
            file.write(memory.tobytes())


def _emulate(command: Sequence[str], outputs: Path, timeout_s: float) -> tuple[int | None, str]:
    """Status and text of ``command``, run beside ``outputs``.

    No status if it was stopped because ``outputs`` did not grow for ``timeout_s``.
    """
    with subprocess.Popen(
        command,
        cwd=outputs.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            size = 0
            while True:
                try:
                    text, _ = process.communicate(timeout=timeout_s)
                    return process.returncode, text.decode(errors="replace")
                except subprocess.TimeoutExpired:
                    before, size = size, outputs.stat().st_size
                    if size == before:
                        return None, ""
        finally:
            process.kill()


def _results(outputs: Path, calls: Sequence[_Call]) -> Iterator[TrialRun]:
    """What ``outputs`` has of ``calls``, in order, up to what cannot be one of them."""
    content = np.fromfile(outputs, np.uint8)
    begin = 0
    for index, memory in calls:
        body = begin + _HEADER.size
        end = body + memory.nbytes
        if end > content.size:
            return
        kernel, size, instructions = _HEADER.unpack(content[begin:body].tobytes())
        if (kernel, size) != (index, memory.nbytes):
            return
        yield TrialRun(instructions, content[body:end])
        begin = end
