"""Trials in the emulator: calls go in as a file, and what became of them comes out as one."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tvm_kp import scratch
from tvm_kp.board import cycles as cycle_model
from tvm_kp.board import emulator
from tvm_kp.board.trial_calls import (
    Call,
    Ending,
    Trial,
    TrialResult,
    TrialRun,
    read_outputs,
    too_long,
    write_inputs,
)
from tvm_kp.board.trial_image import TrialImage
from tvm_kp.errors import RunError
from tvm_kp.target import Target

# How the emulator ends after a fault that the firmware tells, and after one that cannot be handled.
_FAULT, _LOCKUP = 3, -6


class EmulatedMachine:
    """Starts the emulator with ``image``, as often as that takes."""

    def __init__(self, image: TrialImage, target: Target, limit: int, timeout_s: float) -> None:
        self._image, self._target = image.path, target
        self._limit, self._timeout_s = limit, timeout_s

    def __enter__(self) -> EmulatedMachine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, calls: Sequence[Call]) -> tuple[list[TrialRun], Ending | None]:
        """The first of ``calls``, up to the one that failed, and how it did. Raises RunError."""
        with scratch.folder() as folder:
            outputs = folder / "outputs.bin"
            outputs.touch()
            write_inputs(folder / "inputs.bin", calls)
            command = emulator.command(self._image, self._target)
            status, text = _emulate(command, outputs, self._timeout_s)
            done = [TrialRun(*output) for output in read_outputs(outputs, calls)]
        return done, None if len(done) == len(calls) else self._ending(status, text)

    def _ending(self, status: int | None, text: str) -> Ending:
        name = self._target.name
        if status is None:
            return "hang", f"{name} was stopped after {self._timeout_s:g} s without a result"
        if re.search("^LIMIT$", text, re.MULTILINE):
            return too_long(self._limit, "instructions")
        message = emulator.failure(text, status, self._image, self._target)
        # An end without all results is a fault, too: a kernel changed what the harness does.
        if status not in (0, _FAULT, _LOCKUP):
            raise RunError(message)
        return "fault", message


def with_cycles(
    trials: Sequence[Trial], results: Sequence[TrialResult], image: TrialImage, target: Target
) -> list[TrialResult]:
    """``results`` with the cycles of all calls of trials that did not fail, estimated."""
    samples: dict[tuple[int, int | None], np.ndarray] = {}  # by trial and instructions
    for index, (trial, result) in enumerate(zip(trials, results, strict=True)):
        if not result.failure:
            for memory, run in zip(trial.memories, result.runs, strict=True):
                samples.setdefault((index, run.instructions), memory)
    with scratch.folder() as folder:
        calls = [(index, memory) for (index, _), memory in samples.items()]
        write_inputs(folder / "inputs.bin", calls)
        counts = cycle_model.estimate(image.path, target, folder)
    if [count for count, _ in counts] != [count for _, count in samples]:
        raise RunError(f"{target.name} executed other instructions when traced than when counted")
    found = {key: cycles for key, (_, cycles) in zip(samples, counts, strict=True)}
    return [
        replace(r, runs=tuple(replace(x, cycles=found.get((i, x.instructions))) for x in r.runs))
        for i, r in enumerate(results)
    ]


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
