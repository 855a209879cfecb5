"""Static memory plans: buffers with lifetimes -> offsets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Lifetime:
    """A buffer of ``size`` bytes that is in use from statement ``first`` to ``last``."""

    size: int
    first: int
    last: int

    def conflicts(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """Byte offsets in the order of the lifetimes, and the bytes needed in all."""

    offsets: tuple[int, ...]
    peak: int


def lower_bound(lifetimes: Sequence[Lifetime], alignment: int) -> int:
    """Bytes in use at the fullest statement: no plan needs less."""
    return max(
        (
            sum(aligned(o.size, alignment) for o in lifetimes if o.first <= one.first <= o.last)
            for one in lifetimes
        ),
        default=0,
    )


def first_fit(lifetimes: Sequence[Lifetime], alignment: int, order: Iterable[int]) -> Plan:
    """Every buffer, in the ``order`` of their indices, at the lowest offset that is free."""
    offsets: dict[int, int] = {}
    for index in order:
        one = lifetimes[index]
        taken = sorted(
            (offset, offset + lifetimes[other].size)
            for other, offset in offsets.items()
            if one.conflicts(lifetimes[other])
        )
        place = 0
        for start, end in taken:
            if place + one.size <= start:
                break
            place = max(place, aligned(end, alignment))
        offsets[index] = place
    ends = (offsets[k] + one.size for k, one in enumerate(lifetimes))
    return Plan(
        tuple(offsets[k] for k in range(len(lifetimes))), aligned(max(ends, default=0), alignment)
    )


def aligned(size: int, alignment: int) -> int:
    """``size`` rounded up to a multiple of ``alignment``."""
    return -(-size // alignment) * alignment
