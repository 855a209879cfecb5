"""The memory of calls on an attached board, over a line of which every byte counts."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

import numpy as np

from tvm_kp.board.commands import SUM_BYTES, Commands
from tvm_kp.board.trial_layout import ALIGNMENT

T = TypeVar("T")


class BoardMemory:
    """What lies in the last bytes of the ``room`` that ``commands`` reach.

    At 115200 baud a kilobyte takes 90 ms. So both sides compare sums of blocks, and a block goes
    over the line if it differs, is not of one value, and was not ``seen`` before. The board has
    what was sent after a fault, too.
    """

    def __init__(self, commands: Commands, room: int, seen: dict[int, np.ndarray]) -> None:
        self._commands, self._room, self._seen = commands, room, seen
        self._known = np.zeros(0, np.uint8)  # with what aligns the end

    def offset(self, nbytes: int) -> int:
        """Where a memory of ``nbytes`` begins, so that it ends at the end."""
        return self._room - _aligned(nbytes)

    def put(self, memory: np.ndarray) -> None:
        """Make it (nbytes,) uint8. Raises RunError."""
        wanted = np.zeros(_aligned(memory.size), np.uint8)
        wanted[: memory.size] = memory
        known = self._known.size == wanted.size
        there = _sums(self._known) if known else self._sums(wanted.size)
        blocks, start = _blocks(wanted), self.offset(memory.size)
        differing = _differing(there, self._noted(wanted))
        for part, value in _runs(differing, lambda k: _value(blocks[k])):
            if value is None:
                self._commands.write(0, wanted[part].tobytes(), start + part.start)
            else:
                self._commands.fill(start + part.start, wanted[part].size, value)
        self._known = wanted

    def get(self, nbytes: int) -> np.ndarray:
        """What became of it, (nbytes,) uint8. Raises RunError."""
        found, there = self._known.copy(), self._sums(self._known.size)
        blocks, changed = _blocks(found), _differing(there, _sums(found))
        for k in changed:
            if there[k] in self._seen:
                blocks[k][:] = self._seen[there[k]]
        unseen = [k for k in changed if there[k] not in self._seen]
        for part, _ in _runs(unseen, lambda k: None):
            size = found[part].size
            data = self._commands.read(0, size, self.offset(nbytes) + part.start)
            found[part] = np.frombuffer(data, np.uint8)
        self._noted(found)
        self._known = found
        return found[:nbytes].copy()

    def _sums(self, nbytes: int) -> list[int]:
        return self._commands.sums(self.offset(nbytes), -(-nbytes // SUM_BYTES))

    def _noted(self, memory: np.ndarray) -> list[int]:
        """The sums of blocks that from now on were seen."""
        sums = _sums(memory)
        self._seen.update(zip(sums, _blocks(memory), strict=True))
        return sums


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _blocks(memory: np.ndarray) -> list[np.ndarray]:
    return [memory[k : k + SUM_BYTES] for k in range(0, memory.size, SUM_BYTES)]


def _sums(memory: np.ndarray) -> list[int]:
    return [zlib.crc32(block.tobytes()) for block in _blocks(memory)]


def _value(block: np.ndarray) -> int | None:
    """The one value that all bytes have, if they do."""
    return int(block[0]) if (block == block[0]).all() else None


def _differing(some: Sequence[int], others: Sequence[int]) -> list[int]:
    return [k for k, (a, b) in enumerate(zip(some, others, strict=True)) if a != b]


def _runs(blocks: Sequence[int], kind: Callable[[int], T]) -> Iterator[tuple[slice, T]]:
    """The bytes of blocks that follow each other and are of one ``kind``."""
    for (_, same), run in groupby(
        enumerate(blocks), lambda item: (item[1] - item[0], kind(item[1]))
    ):
        places = [k for _, k in run]
        yield slice(places[0] * SUM_BYTES, (places[-1] + 1) * SUM_BYTES), same
