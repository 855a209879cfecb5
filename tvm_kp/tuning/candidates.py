"""Candidates: a kernel scheduled in one way, as an object file and a layout of its memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import tvm
from tvm import tirx
from tvm.ir import Var

from tvm_kp import board
from tvm_kp.artifacts import Packing
from tvm_kp.c.in_place import may_overwrite
from tvm_kp.c.join_parameters import Joined, join, kept_parameters
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
    """What a worker needs to build a candidate; ``function`` is JSON of a PrimFunc.

    ``aliased`` and ``joined`` are those of its ``Task``.
    """

    function: str
    aliased: frozenset[int]
    joined: tuple[Joined, ...]
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
    joined = [one for one in job.joined if _is_possible(kernel, one)]
    regions, offsets, nbytes = _layout(kernel, joined)
    kept = kept_parameters(len(regions), joined)
    aliased = [place for place, index in enumerate(kept) if index in job.aliased]
    source = trial_source(join(kernel, joined), job.symbol, offsets, aliased)
    return Candidate(job.symbol, source, regions, nbytes)


def _is_possible(kernel: tirx.PrimFunc, one: Joined) -> bool:
    """Whether ``kernel`` can be joined as the model's own is: not all can compute in place."""
    first, *others = one.indices
    return first < min(others) or all(may_overwrite(kernel, other, first) for other in others)


def _layout(
    kernel: tirx.PrimFunc, joined: Sequence[Joined]
) -> tuple[tuple[Region, ...], list[int], int]:
    """Where all parameters of ``kernel`` lie, those that are left, and where the memory ends."""
    orders = packings(kernel)
    regions: dict[int, Region] = {}
    offsets: list[int] = []
    end = _GUARD_BYTES
    for block in _blocks(kernel, joined):
        dtype = str(kernel.params[block.indices[0]].dtype)
        itemsize = np.dtype(dtype).itemsize
        for index, start in zip(block.indices, block.starts, strict=True):
            nbytes = _elements(kernel.params[index]) * itemsize
            regions[index] = Region(end + start * itemsize, nbytes, dtype, orders.get(index))
        offsets.append(end)
        filled = block.elements * itemsize + _GUARD_BYTES
        end += -(-filled // _ALIGNMENT) * _ALIGNMENT
    return tuple(regions[index] for index in sorted(regions)), offsets, end


def _blocks(kernel: tirx.PrimFunc, joined: Sequence[Joined]) -> Iterator[Joined]:
    """What the parameters that are left are made of, in order."""
    made = {one.indices[0]: one for one in joined}
    for index in kept_parameters(len(kernel.params), joined):
        yield made.get(index) or Joined((index,), (0,), _elements(kernel.params[index]))


def _elements(param: Var) -> int:
    return math.prod(int(size) for size in param.shape)


def as_json(function: tirx.PrimFunc) -> str:
    """A PrimFunc that ``Job`` can carry to another process."""
    text: str = tvm.ir.save_json(function)
    return text


@lru_cache(maxsize=64)
def _function(text: str) -> tirx.PrimFunc:
    return tvm.ir.load_json(text)


def _place(region: Region) -> slice:
    return slice(region.offset, region.offset + region.nbytes)
