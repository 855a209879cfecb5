"""The memory of calls on an attached board, over a line of which every byte counts."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from tvm_kp.board.commands import SUM_BYTES, Commands
from tvm_kp.board.trial_layout import ALIGNMENT


class BoardMemory:
    """What lies in the last bytes of the ``room`` that ``commands`` reach.

    Only blocks that differ are sent or fetched, which sums of them tell: at 115200 baud a kilobyte
    takes 90 ms. After a fault a board still has what was sent.
    """

    def __init__(self, commands: Commands, room: int) -> None:
        self._commands, self._room = commands, room
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
        start = self.offset(memory.size)
        for part in _differing(there, _sums(wanted)):
            self._commands.write(0, wanted[part].tobytes(), start + part.start)
        self._known = wanted

    def get(self, nbytes: int) -> np.ndarray:
        """What became of it, (nbytes,) uint8. Raises RunError."""
        found = self._known.copy()
        for part in _differing(self._sums(found.size), _sums(found)):
            size = found[part].size
            data = self._commands.read(0, size, self.offset(nbytes) + part.start)
            found[part] = np.frombuffer(data, np.uint8)
        self._known = found
        return found[:nbytes]

    def _sums(self, nbytes: int) -> list[int]:
        return self._commands.sums(self.offset(nbytes), -(-nbytes // SUM_BYTES))


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _sums(memory: np.ndarray) -> list[int]:
    content = memory.tobytes()
    return [zlib.crc32(content[k : k + SUM_BYTES]) for k in range(0, len(content), SUM_BYTES)]


def _differing(some: Sequence[int], others: Sequence[int]) -> Iterator[slice]:
    """The runs of blocks whose sums differ."""
    begin = None
    for k, same in enumerate([*(a == b for a, b in zip(some, others, strict=True)), True]):
        if not same and begin is None:
            begin = k
        if same and begin is not None:
            yield slice(begin * SUM_BYTES, k * SUM_BYTES)
            begin = None
