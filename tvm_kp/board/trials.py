"""Trying kernels: many in one image, all measured in one start of the emulator.

A kernel that faults or does not end takes the emulator with it; what comes after is measured in
another start. It can do little to the others: see templates/trials/isolate.h.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tvm_kp.board import cycles as cycle_model
from tvm_kp.board import emulator, toolchain
from tvm_kp.board.trial_calls import Call, read_outputs, write_inputs
from tvm_kp.board.trial_image import build_image
from tvm_kp.errors import FitError, RunError
from tvm_kp.target import Target

# How the firmware ends, and how the emulator after a fault that cannot be handled.
_FAULT, _LIMIT, _LOCKUP = 3, 4, -6

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
    """One call: its instructions, and what lies in memory after it, (nbytes,) uint8.

    ``cycles`` is an estimate, see `tvm_kp.board.cycles`; both are with the call and the return.
    """

    instructions: int
    memory: np.ndarray
    cycles: float | None = None


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
    trials: Sequence[Trial],
    target: Target,
    *,
    limit: int,
    timeout_s: float | None = None,
    cycles: bool = False,
) -> list[TrialResult]:
    """Call every trial's kernel with each of its memories, on a ``target`` that is emulated.

    A call that takes ``limit`` instructions or more hangs. So does one that makes the emulator
    write nothing for ``timeout_s`` (default: the target's), which is for what no counter ends.

    With ``cycles`` the calls of each trial that did not fail are made again and traced, one of
    those that take equally many instructions: its cycles are theirs, too.

    Raises MissingToolError, BuildError, FitError, RunError for what no trial is guilty of, and
    TargetError if the cycles of ``target`` cannot be estimated.
    """
    if cycles:
        cycle_model.check(target)
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
                for result in run_trials(
                    half, target, limit=limit, timeout_s=timeout_s, cycles=cycles
                )
            ]
        results = _run(trials, image, target, limit, timeout_s or target.runner.timeout_s)
        return _with_cycles(trials, results, image, target) if cycles else results


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


def _with_cycles(
    trials: Sequence[Trial], results: Sequence[TrialResult], image: Path, target: Target
) -> list[TrialResult]:
    """``results`` with the cycles of all calls of trials that did not fail."""
    samples: dict[tuple[int, int], np.ndarray] = {}  # memories by trial and instructions
    for index, (trial, result) in enumerate(zip(trials, results, strict=True)):
        if not result.failure:
            for memory, run in zip(trial.memories, result.runs, strict=True):
                samples.setdefault((index, run.instructions), memory)
    with tempfile.TemporaryDirectory(prefix="tvm_kp-") as name:
        calls = [(index, memory) for (index, _), memory in samples.items()]
        write_inputs(Path(name) / "inputs.bin", calls)
        counts = cycle_model.estimate(image, target, Path(name))
    if [count for count, _ in counts] != [count for _, count in samples]:
        raise RunError(f"{target.name} executed other instructions when traced than when counted")
    found = {key: cycles for key, (_, cycles) in zip(samples, counts, strict=True)}
    return [
        replace(r, runs=tuple(replace(x, cycles=found.get((i, x.instructions))) for x in r.runs))
        for i, r in enumerate(results)
    ]


def _start(
    image: Path, target: Target, calls: Sequence[Call], limit: int, timeout_s: float
) -> tuple[list[TrialRun], _Failure | None]:
    """The first of ``calls``, up to the one that failed, and how it did."""
    with tempfile.TemporaryDirectory(prefix="tvm_kp-") as name:
        outputs = Path(name) / "outputs.bin"
        outputs.touch()
        write_inputs(Path(name) / "inputs.bin", calls)
        status, text = _emulate(emulator.command(image, target), outputs, timeout_s)
        done = [TrialRun(*output) for output in read_outputs(outputs, calls)]
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
