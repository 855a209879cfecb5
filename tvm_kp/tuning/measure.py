"""Running candidates on the board, and what they cost if what they did is right."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from tvm_kp.board import TrialResult, run_trials
from tvm_kp.target import Target
from tvm_kp.tuning.candidates import Candidate, Failure
from tvm_kp.tuning.samples import Sample

Cost = float | Failure  # instructions of a call


def run(
    candidates: Sequence[Candidate],
    samples: Sequence[Sample],
    target: Target,
    limit: int,
    boards: int,
) -> list[TrialResult]:
    """Call every candidate on every sample, on as many emulated boards as that.

    A call of more instructions than ``limit`` counts as one that does not end.
    """
    parts = [range(k, len(candidates), boards) for k in range(min(boards, len(candidates)))]

    def run_part(part: range) -> list[TrialResult]:
        trials = [candidates[k].trial(samples) for k in part]
        return run_trials(trials, target, limit=limit)

    results: dict[int, TrialResult] = {}
    with ThreadPoolExecutor(boards) as pool:
        for part, found in zip(parts, pool.map(run_part, parts), strict=True):
            results.update(zip(part, found, strict=True))
    return [results[k] for k in range(len(candidates))]


def cost(candidate: Candidate, samples: Sequence[Sample], result: TrialResult) -> Cost:
    """The median over ``samples``, or what is wrong."""
    if result.failure:
        return Failure(result.failure, result.message)
    for sample, ran in zip(samples, result.runs, strict=True):
        if candidate.strayed(candidate.memory(sample), ran.memory, len(sample.operands)):
            return Failure("stray", "it wrote to memory that is not its own")
        if not sample.agrees(candidate.results(ran.memory, sample)):
            return Failure("wrong", "its results are not those of TVM's own schedule")
    return float(median(ran.instructions for ran in result.runs))


def right(candidate: Candidate, samples: Sequence[Sample], result: TrialResult) -> list[Sample]:
    """The samples on which a candidate gives the results that they expect."""
    return [
        sample
        for sample, ran in zip(samples, result.runs, strict=False)
        if sample.agrees(candidate.results(ran.memory, sample))
    ]
