"""Trials on attached boards: what differs from trials in the emulator."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvm_kp.board import Trial, TrialResult, attached, attached_trials, compile_trial, run_trials
from tvm_kp.board.link import Command, Link
from tvm_kp.board.toolchain import find as find_compiler
from tvm_kp.board.trial_image import build_image
from tvm_kp.errors import FitError, RunError
from tvm_kp.target import Target, names

ATTACHED = [name for name in names() if Target.load(name).runner.kind == "serial"]
LIMIT = 1_000_000
PIECE = 512 - 5  # bytes of a memory in one request
COUNT_UP = "for (int i = 0; i < 8; ++i) memory[i] = (unsigned char)(memory[i] + 1);"
FOR_EVER = 'for (;;) __asm volatile("");'
Make = Callable[..., Trial]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Counter[Command]:
    """How many requests of each kind go over the line."""
    counts: Counter[Command] = Counter()
    call = Link.call

    def counted(link: Link, command: Command, body: bytes = b"") -> bytes:
        counts[command] += 1
        return call(link, command, body)

    monkeypatch.setattr(Link, "call", counted)
    return counts


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make_one(symbol: str, body: str, target: Target, *memories: np.ndarray) -> Trial:
        entry = f"void {symbol}(unsigned char *memory)"
        text = f"{entry};\n{entry} {{ (void)memory; {body} }}\n"
        made = compile_trial(text, symbol, target, tmp_path)
        return Trial(symbol, made, memories or (np.arange(8, dtype=np.uint8),) * 2)

    return make_one


def counted_up(result: TrialResult) -> bool:
    assert all(run.cycles is not None and run.instructions is None for run in result.runs)
    return [run.memory.tolist() for run in result.runs] == [[*range(1, 9)]] * 2


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached_trials, "_START_S", 0.7)


def test_without_an_mpu(make: Make, small_board: Target, attached_boards: Any) -> None:
    """What the timer cannot end is ended by another flash."""
    target = replace(small_board, runner=replace(small_board.runner, timeout_s=2))
    bodies = {
        "first": COUNT_UP,
        "hang": FOR_EVER,
        "silent": f'__asm volatile("cpsid i"); {FOR_EVER}',
        "variables": "extern unsigned __bss_start[], __bss_end[]; "
        "for (unsigned *b = __bss_start; b < __bss_end; ++b) *b = 7u;",
        "last": COUNT_UP,
    }
    trials = [make(symbol, body, target) for symbol, body in bodies.items()]
    results = dict(zip(bodies, run_trials(trials, target, limit=LIMIT), strict=True))
    assert all(counted_up(results[name]) for name in ("first", "last"))
    assert results["hang"].message == "a call takes 1000000 cycles or more"
    assert results["silent"].message == "mine did not answer within 2 s"
    failures = [result.failure for result in results.values()]
    assert failures == ["", "hang", "hang", "hang", ""], "the counter is a variable, too"
    assert len(attached_boards.flashes()) == 2


def test_a_fault_undoes_nothing_of_the_memory(
    make: Make, attached_board: Target, attached_boards: Any, sent: Counter[Command]
) -> None:
    """All calls are of one image that is flashed once, and only what changes is sent."""
    target, flashed = attached_board, []
    memory = np.random.default_rng(0).integers(0, 256, 3000, np.uint8)
    bodies = {"t0": "memory[5] ^= 1;", "fault": '__asm volatile("udf #0");'}
    bodies |= {"t1": "memory[2999] ^= 1; memory[2500] ^= 1;", "again": "memory[5] ^= 1;"}
    trials = [make(symbol, body, target, memory, memory) for symbol, body in bodies.items()]
    results = run_trials(trials, target, limit=LIMIT, flashed=lambda: flashed.append(1))
    assert len(flashed) == len(attached_boards.flashes()) == 1
    assert [result.failure for result in results] == ["", "fault", "", ""]
    for result, places in zip(results, ([5], [], [2500, 2999], [5]), strict=True):
        for run in result.runs:
            assert np.flatnonzero(run.memory != memory).tolist() == places
    # The memory once, then a block a place that calls changed before others.
    assert sent[Command.WRITE] == -(-memory.size // PIECE) + 7


def test_kernels_that_do_not_fit(make: Make, small_board: Target, attached_boards: Any) -> None:
    trial = make("large", "", small_board, np.zeros(9000, np.uint8))
    with pytest.raises(FitError, match="needs 9000 bytes of memory, mine has room for 8192"):
        run_trials([trial], small_board, limit=LIMIT)
    assert attached_boards.flashes() == []


def test_another_firmware_answers(
    make: Make, attached_board: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the port is that of another board."""
    run_trials([make("one", COUNT_UP, attached_board)], attached_board, limit=LIMIT)
    monkeypatch.setattr(attached, "flash", lambda image, target: None)
    with pytest.raises(RunError, match="mine runs another firmware than was put on it"):
        run_trials([make("two", COUNT_UP, attached_board)], attached_board, limit=LIMIT)


@pytest.mark.parametrize("name", ATTACHED)
def test_images_for_shipped_boards(name: str, make: Make, tmp_path: Path) -> None:
    target = Target.load(name)
    trial = make("up", COUNT_UP, target)
    image = build_image([(trial.symbol, trial.object)], 20_000, LIMIT, target, tmp_path)
    symbols = subprocess.run(
        [find_compiler(target, "nm"), image.path], capture_output=True, text=True, check=True
    )
    at = {
        name: int(address, 16) for address, _, name in map(str.split, symbols.stdout.splitlines())
    }
    places = image.layout.addresses()
    assert (at["__stack_bottom"], at["__stack_top"]) == (places["RAM"], places["VARIABLES"])
    assert places["VARIABLES"] <= at["__data_start"] < at["__bss_end"] <= places["VARIABLES_END"]
    assert "up" in at and places["MEMORY"] + 20_000 == places["MEMORY_END"]
