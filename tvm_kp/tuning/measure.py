"""What candidates cost, if what they did on the board is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

from tvm_kp.board import Trial, TrialResult, run_trials
from tvm_kp.errors import BuildError, FitError
from tvm_kp.target import Target
from tvm_kp.tuning.candidates import Candidate, Failure
from tvm_kp.tuning.samples import Sample

Cost = float | Failure  # instructions or cycles of a call


def run(
    trials: Sequence[Trial],
    target: Target,
    limit: int,
    cycles: bool = False,
    flashed: Callable[[], None] = lambda: None,
) -> list[TrialResult]:
    """``run_trials``; those that cannot be linked, or do not fit the board, fail alone."""
    try:
        return run_trials(trials, target, limit=limit, cycles=cycles, flashed=flashed)
    except (BuildError, FitError) as error:
        if len(trials) == 1:
            return [TrialResult((), "build", str(error))]
        # By halves, as each image costs an attached board a flash.
        middle = len(trials) // 2
        halves = trials[:middle], trials[middle:]
        return [r for half in halves for r in run(half, target, limit, cycles, flashed)]


def cost(candidate: Candidate, samples: Sequence[Sample], result: TrialResult) -> Cost:
    """The median over ``samples``, or what is wrong."""
    if result.failure:
        return Failure(result.failure, result.message)
    for sample, ran in zip(samples, result.runs, strict=True):
        if candidate.strayed(candidate.memory(sample), ran.memory, len(sample.operands)):
            return Failure("stray", "it wrote to memory that is not its own")
        if not sample.agrees(candidate.results(ran.memory, sample)):
            return Failure("wrong", "its results are not those of TVM's own schedule")
    return float(median(run.spent for run in result.runs))


def usable(
    candidate: Candidate, samples: Sequence[Sample], result: TrialResult
) -> tuple[list[Sample], TrialResult]:
    """The samples on which a kernel that is known to be right is, and its runs on these; all if
    there is none. Not every kernel is made for the extremes of its operands' types."""
    pairs = [
        (sample, ran)
        for sample, ran in zip(samples, result.runs, strict=False)
        if sample.agrees(candidate.results(ran.memory, sample))
    ]
    if result.failure or not pairs:
        return list(samples), result
    kept, runs = zip(*pairs, strict=True)
    return list(kept), replace(result, runs=runs)
