from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm.rpc.tracker import Tracker

from tvm_kp.board import compile_trial
from tvm_kp.errors import RunError
from tvm_kp.target import Target
from tvm_kp.tuning.boards import LocalBoards, TrackedBoards
from tvm_kp.tuning.candidates import Candidate, Region
from tvm_kp.tuning.samples import Sample
from tvm_kp.tuning.server import start

BOARD, HOST = Target.load("mps2-an386"), "127.0.0.1"
LIMIT = 1 << 30
# Adds to a byte, after some thousand rounds that take the emulator a while.
SOURCE = """\
void {0}(unsigned char *memory);
void {0}(unsigned char *memory) {{
  for (volatile int i = 0; i < {2}; ++i) {{}}
  memory[128] = memory[64] + {1};
}}
"""
REGIONS = (Region(64, 1, "uint8"), Region(128, 1, "uint8"))
SAMPLES = [Sample((np.array([x], np.uint8),), (np.array([x + 1], np.uint8),)) for x in (1, 2, 3)]


def candidate(k: int, rounds: int = 100) -> Candidate:
    return Candidate(f"kp_k{k}", SOURCE.format(f"kp_k{k}", k, rounds), REGIONS, 256)


def called(candidates: list[Candidate]) -> list[tuple[Candidate, list[Sample]]]:
    return [(one, SAMPLES) for one in candidates]


def results(boards: Any, candidates: list[Candidate]) -> list[list[int]]:
    found = boards.run(called(candidates), LIMIT)
    assert not any(result.failure for result in found)
    return [[int(run.memory[128]) for run in result.runs] for result in found]


def expected(count: int) -> list[list[int]]:
    return [[x + k for x in (1, 2, 3)] for k in range(count)]


@pytest.mark.parametrize("count", [1, 3])
def test_emulated_boards(tmp_path: Path, count):
    candidates = [
        Candidate(
            c.symbol,
            c.source,
            c.regions,
            c.nbytes,
            compile_trial(c.source, c.symbol, BOARD, tmp_path),
        )
        for c in map(candidate, range(5))
    ]
    assert results(LocalBoards(BOARD, count), candidates) == expected(5)
    assert LocalBoards(BOARD, count).run([], LIMIT) == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def tracker() -> Iterator[str]:
    port = free_port()
    running = Tracker(HOST, port, port + 1, silent=True)
    yield f"{HOST}:{running.port}"
    running.terminate()


@pytest.fixture
def two_servers(tracker: str) -> Iterator[list[Any]]:
    host, _, port = tracker.rpartition(":")
    first = free_port()
    servers = [
        start(BOARD, "m4", (host, int(port)), HOST, first, first + 100, None) for _ in range(2)
    ]
    boards = None
    while boards is None or boards.count() < 2:
        with suppress(RunError):
            boards = TrackedBoards(BOARD, tracker, "m4")
    yield servers
    for server in servers:
        server.terminate()


def test_boards_behind_a_tracker(tracker, two_servers):
    boards = TrackedBoards(BOARD, tracker, "m4")
    assert results(boards, [candidate(k) for k in range(7)]) == expected(7)
    with pytest.raises(RunError, match=r"no board with the key 'm7' \(it has: m4\)"):
        TrackedBoards(BOARD, tracker, "m7")
    with pytest.raises(RunError, match="this is a mps2-an386, not a mps3-an547"):
        TrackedBoards(Target.load("mps3-an547"), tracker, "m4").run(called([candidate(1)]), LIMIT)


def test_a_board_that_vanishes_is_replaced(tracker, two_servers):
    boards = TrackedBoards(BOARD, tracker, "m4")
    slow = [candidate(k, rounds=3_000_000) for k in range(6)]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(results, boards, slow)
        with pytest.raises(TimeoutError):
            running.result(timeout=1.0)
        two_servers[0].terminate()
        assert running.result(timeout=60) == expected(6)


def test_an_attached_board_behind_a_tracker(tracker, attached_board, attached_boards):
    host, _, port = tracker.rpartition(":")
    first = free_port()
    server = start(attached_board, "mine", (host, int(port)), HOST, first, first + 100, None)
    boards = None
    while boards is None:
        with suppress(RunError):
            boards = TrackedBoards(attached_board, tracker, "mine")
    found = boards.run(called([candidate(k) for k in range(3)]), LIMIT)
    server.terminate()
    assert [[int(run.memory[128]) for run in r.runs] for r in found] == expected(3)
    assert all(run.cycles > 0 and run.instructions is None for r in found for run in r.runs)
    assert len(attached_boards.flashes()) == 1, "all in one image"


def test_no_tracker():
    with pytest.raises(RunError, match=r"no RPC tracker answers at 127\.0\.0\.1:.*rpc_tracker"):
        TrackedBoards(BOARD, f"{HOST}:{free_port()}", "m4")
