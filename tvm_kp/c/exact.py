"""The smallest memory plan there is, by branch and bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tvm_kp.c.plan import Lifetime, Plan, aligned, lower_bound
from tvm_kp.errors import ModelError

MOST = 100  # buffers
LIMIT = 1_000_000  # buffers looked at in all nodes of the search together, some seconds


def exact(lifetimes: Sequence[Lifetime], alignment: int, start: Plan) -> Plan:
    """A plan than which none is smaller; ``start`` is any plan, and returned if it is one.

    Raises ``ModelError`` if there are more than ``MOST`` buffers, or ``LIMIT`` is not enough to
    prove it.
    """
    bound, count = lower_bound(lifetimes, alignment), len(lifetimes)
    if start.peak == bound:
        return start
    search = _Search([aligned(one.size, alignment) for one in lifetimes], lifetimes, start.peak)
    nodes = search.nodes([None] * count, (0, -1))
    for _ in range(LIMIT // count if count <= MOST else 0):
        if search.peak == bound or next(nodes, None) is None:
            return start if search.offsets is None else Plan(search.offsets, search.peak)
    raise ModelError(
        f"the exact planner cannot prove that {search.peak:,} bytes are the least for {count} "
        f"buffers (at least {bound:,} are needed; it gives up beyond {MOST} buffers and after "
        f"{LIMIT:,} steps); choose another planner, best say"
    )


class _Search:
    """Buffers are placed from the bottom up: the offsets of a branch never fall.

    In a plan in which nothing can sink, every buffer lies at 0 or on one that it conflicts with,
    so that those below it say where it is.
    """

    def __init__(self, sizes: list[int], lifetimes: Sequence[Lifetime], peak: int) -> None:
        # Buffers without a size lie anywhere, at 0 say.
        self._sizes = sizes
        self._alive = [
            [k for k, o in enumerate(lifetimes) if sizes[k] and o.first <= one.first <= o.last]
            for one in lifetimes
        ]
        self._conflicts = [
            [k for k, o in enumerate(lifetimes) if sizes[k] and k != i and o.conflicts(one)]
            for i, one in enumerate(lifetimes)
        ]
        self.peak = peak
        self.offsets: tuple[int, ...] | None = None

    def nodes(self, placed: list[int | None], last: tuple[int, int]) -> Iterator[bool]:
        """Search below ``placed``, of which ``last`` is (offset, index); yields at every node.

        ``peak`` and ``offsets`` are those of the smallest plan so far.
        """
        yield True
        floors = {k: self._floor(k, placed) for k, at in enumerate(placed) if at is None}
        left = {k: floor for k, floor in floors.items() if self._sizes[k]}
        if not left:
            self.offsets = tuple(at or 0 for at in placed)
            self.peak = self._top(placed)
            return
        # What fits below a buffer that it conflicts with is placed before it.
        ceiling = min(floor + self._sizes[k] for k, floor in left.items())
        for k, floor in sorted(left.items(), key=lambda item: (item[1], -self._sizes[item[0]])):
            if last < (floor, k) and floor < ceiling:
                placed[k] = floor
                if self._least(placed, floor) < self.peak:
                    yield from self.nodes(placed, (floor, k))
                placed[k] = None

    def _floor(self, buffer: int, placed: list[int | None]) -> int:
        """The end of everything placed that ``buffer`` conflicts with."""
        below = ((k, placed[k]) for k in self._conflicts[buffer])
        return max((at + self._sizes[k] for k, at in below if at is not None), default=0)

    def _least(self, placed: list[int | None], lowest: int) -> int:
        """Bytes that the branch needs at least: what is left lies above what is placed."""
        found = 0
        for alive in self._alive:
            ends = [at + self._sizes[k] for k in alive if (at := placed[k]) is not None]
            waiting = sum(self._sizes[k] for k in alive if placed[k] is None)
            top = max(ends, default=0)
            found = max(found, max(top, lowest) + waiting if waiting else top)
        return found

    def _top(self, placed: list[int | None]) -> int:
        return max(
            (at + self._sizes[k] for k, at in enumerate(placed) if at is not None), default=0
        )
