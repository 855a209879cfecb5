from __future__ import annotations

import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.board.board_memory import BoardMemory
from tvm_kp.board.commands import SUM_BYTES

ROOM = 2048


class Board:
    """What `BoardMemory` needs of commands, and the memory that they reach."""

    def __init__(self) -> None:
        self.memory = np.random.default_rng(0).integers(0, 256, ROOM, np.uint8)
        self.carried = 0

    def write(self, index: int, data: bytes, start: int = 0) -> None:
        assert index == 0 and start + len(data) <= ROOM
        self.memory[start : start + len(data)] = np.frombuffer(data, np.uint8)
        self.carried += len(data)

    def read(self, index: int, size: int, start: int = 0) -> bytes:
        assert index == 0 and start + size <= ROOM
        self.carried += size
        return self.memory[start : start + size].tobytes()

    def fill(self, offset: int, size: int, value: int) -> None:
        assert offset + size <= ROOM
        self.memory[offset : offset + size] = value

    def sums(self, offset: int, count: int) -> list[int]:
        assert offset + (count - 1) * SUM_BYTES < ROOM
        ends = range(offset, offset + count * SUM_BYTES, SUM_BYTES)
        return [zlib.crc32(self.memory[k : k + SUM_BYTES]) for k in ends]


@st.composite
def calls(draw: st.DrawFn) -> tuple[np.ndarray, list[int], bool]:
    """A memory, what a call changes of it, and whether the board is another one then."""
    size = draw(st.sampled_from([1, 127, 128, 129, 700, 1999]))
    memory = np.random.default_rng(draw(st.integers(0, 2))).integers(0, 256, size, np.uint8)
    changed = draw(st.lists(st.integers(0, size - 1), max_size=4))
    return memory, changed, draw(st.booleans())


@given(st.lists(calls(), max_size=6))
def test_what_is_put_is_there_and_what_changes_comes_back(
    some: list[tuple[np.ndarray, list[int], bool]],
) -> None:
    board, seen = Board(), {}
    memory = BoardMemory(board, ROOM, seen)
    for content, changed, anew in some:
        if anew:
            memory = BoardMemory(board, ROOM, seen)
        memory.put(content)
        place = memory.offset(content.size)
        assert place % 32 == 0 and place + content.size <= ROOM
        assert (board.memory[place : place + content.size] == content).all()
        after = content.copy()
        after[changed] ^= 255
        board.memory[place : place + content.size] = after
        before, blocks = board.carried, {k // SUM_BYTES for k in changed}
        assert (memory.get(content.size) == after).all()
        assert board.carried - before <= SUM_BYTES * len(blocks)


def test_nothing_is_sent_twice() -> None:
    board = Board()
    content = np.arange(1000, dtype=np.uint8)
    for _ in range(3):
        BoardMemory(board, ROOM, {}).put(content)
    assert board.carried == 1024, "with what aligns it"


def test_what_is_of_one_value_or_was_seen_is_not_carried() -> None:
    board, content = Board(), np.full(1000, 0xA5, np.uint8)
    memory = BoardMemory(board, ROOM, {})
    content[900:] = range(100)
    for calls in (1, 2, 3):
        memory.put(content)
        place = memory.offset(content.size)
        assert (board.memory[place : place + content.size] == content).all()
        board.memory[place : place + 300] = np.arange(300) % 251
        after = memory.get(content.size)
        assert (after[:300] == np.arange(300) % 251).all() and (after[300:] == content[300:]).all()
        assert board.carried == 128 + 3 * SUM_BYTES, calls
