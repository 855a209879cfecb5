"""A line that spoils what it carries, at random but the same with every seed."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator

from tvm_kp.board.transport import Transport

_REMEMBERED = 100  # frames of a direction that may come back, less than sequences have numbers
_GARBAGE_BYTES = 64  # at most, of a random frame
_BURST = 15  # random frames that come together


class Spoiler:
    """One direction: frames, each with its zero, go in whole and come out as the faults have it."""

    def __init__(self, rng: random.Random, rate: float, counts: Counter[str]) -> None:
        self._rng = rng
        self._rate = rate
        self._counts = counts
        self._seen: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._held = b""
        self._partial = b""

    def pass_on(self, data: bytes) -> bytes:
        """What comes out of the line when ``data`` goes in."""
        *frames, self._partial = (self._partial + data).split(b"\0")
        return b"".join(piece for frame in frames for piece in self._frame(frame + b"\0"))

    def _frame(self, frame: bytes) -> Iterator[bytes]:
        self._counts["frames"] += 1
        self._seen.append(frame)
        held, self._held = self._held, b""
        if self._rng.random() < self._rate:
            name, fault = self._rng.choice(list(FAULTS.items()))
            self._counts[name] += 1
            yield from fault(self, frame)
        else:
            yield frame
        yield held

    def _corrupt(self, frame: bytes) -> Iterator[bytes]:
        spoiled = bytearray(frame)
        for _ in range(self._rng.randint(1, 3)):
            spoiled[self._rng.randrange(len(spoiled))] ^= 1 << self._rng.randrange(8)
        yield bytes(spoiled)

    def _truncate(self, frame: bytes) -> Iterator[bytes]:
        yield frame[: self._rng.randrange(len(frame))]

    def _drop(self, frame: bytes) -> Iterator[bytes]:
        yield b""

    def _duplicate(self, frame: bytes) -> Iterator[bytes]:
        yield frame * 2

    def _reorder(self, frame: bytes) -> Iterator[bytes]:
        self._held = frame
        yield b""

    def _replay(self, frame: bytes) -> Iterator[bytes]:
        yield self._rng.choice(self._seen)
        yield frame

    def _inject(self, frame: bytes) -> Iterator[bytes]:
        burst = self._rng.randint(1, _BURST)
        self._counts["random"] += burst - 1
        for _ in range(burst):
            yield self._rng.randbytes(self._rng.randrange(_GARBAGE_BYTES)) + b"\0"
        yield frame


FAULTS: dict[str, Callable[[Spoiler, bytes], Iterator[bytes]]] = {
    "corrupted": Spoiler._corrupt,
    "truncated": Spoiler._truncate,
    "dropped": Spoiler._drop,
    "duplicated": Spoiler._duplicate,
    "reordered": Spoiler._reorder,
    "of the past": Spoiler._replay,
    "random": Spoiler._inject,
}


class FaultyLine:
    """A `Transport` over ``line`` that spoils a share ``rate`` of the frames of each direction.

    Closing it leaves ``line`` open for the next session, which may see frames of this one.
    ``counts`` has the frames that went in and how many were spoiled how, made up ones included.
    """

    def __init__(self, line: Transport, seed: int, rate: float, retry_s: float) -> None:
        rng = random.Random(seed)
        self.retry_s = retry_s
        self.counts: Counter[str] = Counter()
        self._line = line
        self._there = Spoiler(rng, rate, self.counts)
        self._back = Spoiler(rng, rate, self.counts)

    def read(self, timeout_s: float) -> bytes:
        """What the firmware has sent, spoiled."""
        return self._back.pass_on(self._line.read(timeout_s))

    def write(self, data: bytes) -> None:
        """Send ``data``, spoiled."""
        self._line.write(self._there.pass_on(data))

    def close(self) -> None:
        """Nothing: the line is closed by who opened it."""
