from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tvm_kp import board
from tvm_kp.board import Trial, TrialResult, TrialRun
from tvm_kp.target import Target
from tvm_kp.tuning import measure
from tvm_kp.tuning.candidates import Candidate, Failure, Region
from tvm_kp.tuning.samples import Sample

# Adds 1 to an operand at 4, and writes that at 16.
ADD = Candidate("add", "", (Region(4, 4, "int32"), Region(16, 4, "int32")), 24)
SAMPLES = [Sample((np.array([n], "int32"),), (np.array([n + 1], "int32"),)) for n in (1, 5, 9)]


def ran(instructions: int, sample: Sample, added: int = 1, stray: int | None = None) -> TrialRun:
    memory = ADD.memory(sample)
    memory[16:20] = (sample.operands[0] + np.int32(added)).view(np.uint8)
    if stray is not None:
        memory[stray] ^= 1
    return TrialRun(instructions, memory)


def result(*runs: TrialRun) -> TrialResult:
    return TrialResult(runs)


def test_the_median_is_what_it_costs() -> None:
    runs = [ran(n, sample) for n, sample in zip((30, 10, 11), SAMPLES, strict=True)]
    assert measure.cost(ADD, SAMPLES, result(*runs)) == 11.0


@pytest.mark.parametrize("at", range(3))
def test_one_wrong_result_is_enough(at: int) -> None:
    runs = [ran(10, sample, added=1 + (k == at)) for k, sample in enumerate(SAMPLES)]
    found = measure.cost(ADD, SAMPLES, result(*runs))
    assert isinstance(found, Failure) and found.kind == "wrong"


@pytest.mark.parametrize("place", [0, 4, 12, 23])
def test_memory_of_others_must_stay_as_it_is(place: int) -> None:
    runs = [ran(10, sample, stray=place) for sample in SAMPLES]
    found = measure.cost(ADD, SAMPLES, result(*runs))
    assert isinstance(found, Failure) and found.kind == "stray"


def test_failures_on_the_board_are_told() -> None:
    failed = TrialResult((ran(10, SAMPLES[0]),), "hang", "a call takes too long")
    assert measure.cost(ADD, SAMPLES, failed) == Failure("hang", "a call takes too long")


@pytest.mark.parametrize(
    ("wrong", "kept"), [((), (0, 1, 2)), ((1,), (0, 2)), ((0, 1, 2), (0, 1, 2))], ids=str
)
def test_samples_that_the_default_is_right_on(wrong: tuple, kept: tuple) -> None:
    runs = [ran(10 + k, sample, added=1 + (k in wrong)) for k, sample in enumerate(SAMPLES)]
    samples, left = measure.usable(ADD, SAMPLES, result(*runs))
    assert samples == [SAMPLES[k] for k in kept]
    assert [run.instructions for run in left.runs] == [10 + k for k in kept]


def test_a_default_that_fails_says_nothing_of_samples() -> None:
    failed = replace(result(ran(10, SAMPLES[0])), failure="fault")
    assert measure.usable(ADD, SAMPLES, failed) == (SAMPLES, failed)


BODIES = {
    "good": "memory[0] = 7;",
    "unlinked": "extern void nobody(void); nobody();",
    "too_large": "",
    "good_too": "memory[0] = 8;",
}


def test_what_cannot_be_linked_or_does_not_fit_fails_alone(m4: Target, tmp_path: Path) -> None:
    trials = []
    for symbol, body in BODIES.items():
        entry = f"void {symbol}(unsigned char *memory)"
        text = f"{entry};\n{entry} {{ (void)memory; {body} }}\n"
        nbytes = m4.memories["ram"].length if symbol == "too_large" else 8
        made = board.compile_trial(text, symbol, m4, tmp_path)
        trials.append(Trial(symbol, made, (np.zeros(nbytes, np.uint8),)))
    good, unlinked, large, good_too = measure.run(trials, m4, 1_000_000)
    assert (good.runs[0].memory[0], good_too.runs[0].memory[0]) == (7, 8)
    assert unlinked.failure == large.failure == "build"
    assert "undefined reference to `nobody'" in unlinked.message
    assert "bytes of memory" in large.message


def test_nothing_to_run(m4: Target) -> None:
    assert measure.run([], m4, 1_000_000) == []
