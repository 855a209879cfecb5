"""Candidates: a kernel scheduled in one way, as an object file and a layout of its memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import tvm
from tvm import tirx

from tvm_kp import board
from tvm_kp.artifacts import Packing
from tvm_kp.c.packing import packings
from tvm_kp.c.trial import trial_source
from tvm_kp.kernel.schedule import Way, schedule_one
from tvm_kp.target import Target
from tvm_kp.tuning.samples import Sample

# Between operands, so that what is written beside one is seen.
_GUARD_BYTES, _GUARD = 64, 0xA5
_ALIGNMENT = 16


@dataclass(frozen=True)
class Job:
    """What a worker needs to build a candidate; ``function`` is JSON of a PrimFunc."""

    function: str
    aliased: frozenset[int]
    way: Way
    target: Target
    symbol: str
    folder: Path


Build = Callable[[Job], "Candidate"]


@dataclass(frozen=True)
class Region:
    """Where an operand lies, in what order and of what type."""

    offset: int
    nbytes: int
    dtype: str
    packing: Packing | None = None


@dataclass(frozen=True)
class Candidate:
    """C with the function ``symbol``, and the memory that it is called on.

    ``regions`` are those of operands, results and temporary memory, in this order. ``object`` is
    None where the board compiles.
    """

    symbol: str
    source: str
    regions: tuple[Region, ...]
    nbytes: int
    object: Path | None = None

    def trial(self, samples: Sequence[Sample]) -> board.Trial:
        """A call for each of ``samples``, of a candidate that is compiled."""
        assert self.object is not None
        return board.Trial(self.symbol, self.object, self.memories(samples))

    def memories(self, samples: Sequence[Sample]) -> tuple[np.ndarray, ...]:
        """What lies in memory before a call for each of ``samples``, uint8."""
        return tuple(map(self.memory, samples))

    def memory(self, sample: Sample) -> np.ndarray:
        """What lies in memory before a call, uint8."""
        memory = np.full(self.nbytes, _GUARD, np.uint8)
        for region, operand in zip(self.regions, sample.operands, strict=False):
            array = operand if region.packing is None else region.packing.apply(operand)
            content = np.ascontiguousarray(array, np.dtype(region.dtype).newbyteorder("<"))
            memory[_place(region)] = content.reshape(-1).view(np.uint8)
        return memory

    def results(self, memory: np.ndarray, sample: Sample) -> tuple[np.ndarray, ...]:
        """The results in the memory after a call."""
        regions = self.regions[len(sample.operands) :]
        return tuple(
            memory[_place(region)].view(expected.dtype.newbyteorder("<")).reshape(expected.shape)
            for region, expected in zip(regions, sample.expected, strict=False)
        )

    def strayed(self, before: np.ndarray, after: np.ndarray, operands: int) -> bool:
        """Whether a call wrote to anything but results and temporary memory."""
        changed = before != after
        for region in self.regions[operands:]:
            changed[_place(region)] = False
        return bool(changed.any())


@dataclass(frozen=True)
class Failure:
    """Why a way cannot be used: "build", "crash", "fault", "hang", "wrong" or "stray"."""

    kind: str
    message: str


def build(job: Job) -> Candidate:
    """Schedule, print and compile. Raises ``BuildError``, ``StaleChoices``, or what TVM raises."""
    written = write(job)
    compiled = board.compile_trial(written.source, job.symbol, job.target, job.folder)
    return replace(written, object=compiled)


def write(job: Job) -> Candidate:
    """Schedule and print. Raises ``StaleChoices``, or what TVM raises."""
    kernel = schedule_one(_function(job.function), job.target.isa, job.way)
    orders = packings(kernel)
    regions: list[Region] = []
    end = _GUARD_BYTES
    for index, param in enumerate(kernel.params):
        dtype = str(param.dtype)
        nbytes = math.prod(int(size) for size in param.shape) * np.dtype(dtype).itemsize
        regions.append(Region(end, nbytes, dtype, orders.get(index)))
        end += -(-(nbytes + _GUARD_BYTES) // _ALIGNMENT) * _ALIGNMENT
    source = trial_source(kernel, job.symbol, [r.offset for r in regions], job.aliased)
    return Candidate(job.symbol, source, tuple(regions), end)


def as_json(function: tirx.PrimFunc) -> str:
    """A PrimFunc that ``Job`` can carry to another process."""
    text: str = tvm.ir.save_json(function)
    return text


@lru_cache(maxsize=64)
def _function(text: str) -> tirx.PrimFunc:
    return tvm.ir.load_json(text)


def _place(region: Region) -> slice:
    return slice(region.offset, region.offset + region.nbytes)
