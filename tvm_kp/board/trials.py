"""Trying kernels: many in one image, all measured in one start of the emulator, or on an attached
board that is flashed once.

A kernel that faults or does not end makes the machine start anew; what comes after is measured
then. It can do little to the others: see templates/trials/isolate.h.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

from tvm_kp import scratch
from tvm_kp.board import cycles as cycle_model
from tvm_kp.board import toolchain
from tvm_kp.board.attached_trials import AttachedMachine
from tvm_kp.board.emulated_trials import EmulatedMachine, with_cycles
from tvm_kp.board.trial_calls import Call, Ending, Trial, TrialResult, TrialRun, too_long
from tvm_kp.board.trial_image import TrialImage, build_image
from tvm_kp.errors import FitError
from tvm_kp.target import Target, is_attached


class Machine(AbstractContextManager["Machine"], Protocol):
    """What runs an image of trials."""

    def start(self, calls: Sequence[Call]) -> tuple[list[TrialRun], Ending | None]:
        """The first of ``calls``, up to the one that failed, and how it did."""


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
    flashed: Callable[[], None] = lambda: None,
) -> list[TrialResult]:
    """Call every trial's kernel with each of its memories, on a ``target`` with a board.

    A call that takes ``limit`` instructions or more, on an attached board cycles, hangs. So does
    one that makes the board say nothing for ``timeout_s`` (default: the target's), which is for
    what no counter ends. ``flashed`` is called when an attached board was.

    With ``cycles`` the calls of each trial that did not fail in the emulator are made again and
    traced, one of those that take equally many instructions: its cycles are theirs, too. Those of
    an attached board are measured in any case.

    Raises MissingToolError, BuildError, FitError, RunError for what no trial is guilty of, and
    TargetError if the cycles of ``target`` cannot be estimated.
    """
    estimated = cycles and not is_attached(target)
    if estimated:
        cycle_model.check(target)
    if not trials:
        return []
    again = partial(
        run_trials,
        target=target,
        limit=limit,
        timeout_s=timeout_s,
        cycles=cycles,
        flashed=flashed,
    )
    with scratch.folder() as folder:
        try:
            image = _image(trials, target, limit, folder)
        except FitError:
            # All together may not fit where each does.
            if len(trials) < 2:
                raise
            middle = len(trials) // 2
            return again(trials[:middle]) + again(trials[middle:])
        with _machine(image, target, limit, timeout_s, flashed) as machine:
            results = _run(trials, machine, limit)
        return with_cycles(trials, results, image, target) if estimated else results


def _machine(
    image: TrialImage,
    target: Target,
    limit: int,
    timeout_s: float | None,
    flashed: Callable[[], None],
) -> Machine:
    timeout_s = timeout_s or target.runner.timeout_s
    if is_attached(target):
        return AttachedMachine(image, target, limit, timeout_s, flashed)
    return EmulatedMachine(image, target, limit, timeout_s)


def _image(trials: Sequence[Trial], target: Target, limit: int, folder: Path) -> TrialImage:
    kernels = [(t.symbol, t.object) for t in trials]
    memory_bytes = max((memory.nbytes for t in trials for memory in t.memories), default=0)
    return build_image(kernels, memory_bytes, limit, target, folder)


def _run(trials: Sequence[Trial], machine: Machine, limit: int) -> list[TrialResult]:
    """What ``machine`` has of every trial, started again after each that fails."""
    calls = _calls(trials)
    runs: list[list[TrialRun]] = [[] for _ in trials]
    failures: dict[int, Ending] = {}
    while calls:
        done, failure = machine.start(calls)
        for (index, _), run in zip(calls, done, strict=False):
            # The counter's own limit is coarser.
            if run.spent >= limit:
                failures.setdefault(index, too_long(limit, run.unit))
            if index not in failures:
                runs[index].append(run)
        if failure:
            failures.setdefault(calls[len(done)][0], failure)
        calls = [call for call in calls[len(done) :] if call[0] not in failures]
    return [TrialResult(tuple(r), *failures.get(i, ())) for i, r in enumerate(runs)]


def _calls(trials: Sequence[Trial]) -> list[Call]:
    """All calls, those on one memory one after the other, and each trial's in its order: over a
    line is sent what changes."""
    calls = [
        (place, zlib.crc32(memory.tobytes()), index, memory)
        for index, trial in enumerate(trials)
        for place, memory in enumerate(trial.memories)
    ]
    return [(index, memory) for *_, index, memory in sorted(calls, key=lambda call: call[:3])]
