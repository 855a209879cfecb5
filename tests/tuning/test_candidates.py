from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from tvm_kp import board, tuning
from tvm_kp.artifacts import Packing
from tvm_kp.errors import BuildError
from tvm_kp.kernel.schedule import Way
from tvm_kp.kernel.space import StaleChoices
from tvm_kp.lowering import Options
from tvm_kp.target import Target
from tvm_kp.tuning import Task, measure
from tvm_kp.tuning.candidates import Candidate, Job, Region, build
from tvm_kp.tuning.samples import Sample, samples_of


def test_it_runs_on_the_board(candidate: Candidate, samples: list[Sample], m4: Target) -> None:
    trial = candidate.trial(samples)
    (result,) = board.run_trials([trial], m4, limit=1_000_000)
    assert result.failure == ""
    for sample, before, run in zip(samples, trial.memories, result.runs, strict=True):
        assert sample.agrees(candidate.results(run.memory, sample))
        assert not candidate.strayed(before, run.memory, len(sample.operands))


def test_parts_of_a_tensor_and_a_state_in_place_run_on_the_board(
    net: nn.Module, net_inputs: tuple, job_of: Callable[..., Job], m4: Target, tmp_path: Path
) -> None:
    options = Options(quantize="int8", calibration="random", tuning_records="none")
    found = tuning.tasks(net, m4, example_inputs=net_inputs, options=options)
    cell = max(found, key=lambda task: len(task.joined))
    state, gates = cell.joined
    assert (len(state.indices), len(gates.indices)) == (2, 4)
    samples = samples_of(cell)
    candidate = build(job_of(cell, cell.default, tmp_path))
    assert candidate.regions[state.indices[0]] == candidate.regions[state.indices[1]]
    (result,) = board.run_trials([candidate.trial(samples)], m4, limit=1_000_000)
    assert isinstance(measure.cost(candidate, samples, result), float)


def test_operands_lie_in_their_regions(candidate: Candidate, samples: list[Sample]) -> None:
    (sample, *_) = samples
    memory = candidate.memory(sample)
    assert (memory.dtype, memory.shape) == (np.uint8, (candidate.nbytes,))
    sizes = []
    for region, operand in zip(candidate.regions, sample.operands, strict=False):
        packed = operand if region.packing is None else region.packing.apply(operand)
        there = memory[region.offset : region.offset + packed.nbytes]
        np.testing.assert_array_equal(there, packed.reshape(-1).view(np.uint8))
        sizes.append(packed.nbytes)
    assert [region.nbytes for region in candidate.regions][: len(sizes)] == sizes


def test_regions_are_aligned_and_lie_apart(candidate: Candidate) -> None:
    assert candidate.regions[0].offset >= 64
    assert all(region.offset % 16 == 0 for region in candidate.regions)
    ends = [region.offset + region.nbytes for region in candidate.regions]
    begins = [*(region.offset for region in candidate.regions[1:]), candidate.nbytes]
    assert all(begin - end >= 64 for begin, end in zip(begins, ends, strict=True))


TWO = Candidate("f", "", (Region(8, 4, "int16"), Region(24, 4, "int16"), Region(40, 2, "int8")), 48)


@pytest.mark.parametrize("place", range(48))
def test_writing_outside_of_results_and_temporary_memory_is_seen(place: int) -> None:
    before = np.zeros(48, np.uint8)
    after = before.copy()
    after[place] = 1
    own = 24 <= place < 28 or 40 <= place < 42
    assert TWO.strayed(before, after, operands=1) is not own


def test_operands_are_packed_as_the_kernel_reads_them() -> None:
    packing = Packing((2, 3), (0, 0), (2, 3), (1, 0))
    packed = Candidate("f", "", (Region(0, 6, "int8", packing),), 6)
    weights = np.arange(6, dtype="int8").reshape(2, 3)
    memory = packed.memory(Sample((weights,), ()))
    np.testing.assert_array_equal(memory.view("int8"), packing.apply(weights).ravel())


def test_ways_that_are_not_offered(
    task: Task, job_of: Callable[[Task, Way, Path], Job], tmp_path: Path
) -> None:
    with pytest.raises(StaleChoices):
        build(job_of(task, Way("gone", 1), tmp_path))


def test_what_the_compiler_refuses(tmp_path: Path, m4: Target) -> None:
    with pytest.raises(BuildError):
        board.compile_trial("nonsense", "f", m4, tmp_path)
