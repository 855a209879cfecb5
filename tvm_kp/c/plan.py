"""Static memory planning: buffers with lifetimes -> offsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def plan(lifetimes: Sequence[Lifetime], alignment: int) -> Plan:
    """The best of several first-fit plans; never worse than greedy by size."""
    return min((_first_fit(lifetimes, alignment, key) for key in _ORDERS), key=lambda p: p.peak)


def lower_bound(lifetimes: Sequence[Lifetime], alignment: int) -> int:
    """Bytes in use at the fullest statement: no plan needs less."""
    return max(
        (
            sum(_aligned(o.size, alignment) for o in lifetimes if o.first <= one.first <= o.last)
            for one in lifetimes
        ),
        default=0,
    )


_ORDERS: tuple[Callable[[Lifetime], tuple[int, ...]], ...] = (
    lambda one: (-one.size, one.first),
    lambda one: (one.first, -one.size),
    lambda one: (one.first - one.last, -one.size),
    lambda one: (-one.last, -one.size),
)


def _first_fit(
    lifetimes: Sequence[Lifetime], alignment: int, order: Callable[[Lifetime], tuple[int, ...]]
) -> Plan:
    offsets: dict[int, int] = {}
    for index in sorted(range(len(lifetimes)), key=lambda k: order(lifetimes[k])):
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
            place = max(place, _aligned(end, alignment))
        offsets[index] = place
    ends = (offsets[k] + one.size for k, one in enumerate(lifetimes))
    return Plan(
        tuple(offsets[k] for k in range(len(lifetimes))), _aligned(max(ends, default=0), alignment)
    )


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
