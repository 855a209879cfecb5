"""The memory planners by name: those of TVM's unified static memory planner, and two more."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from tvm_kp.c.exact import exact
from tvm_kp.c.plan import Lifetime, Plan, first_fit, lower_bound

BEST = "best"
_SWAPS = 300  # tries of the hill climber

# What comes first is placed first; each gives a key of (buffer, conflicts with others).
_Key = Callable[[Lifetime, int], tuple[int, ...]]


def _by_size(one: Lifetime, _: int) -> tuple[int, ...]:
    return -one.size, one.first


def _by_conflicts(one: Lifetime, conflicts: int) -> tuple[int, ...]:
    return -conflicts, -one.size, one.first


_ORDERS: tuple[_Key, ...] = (
    _by_size,
    lambda one, _: (one.first, -one.size),
    lambda one, _: (one.first - one.last, -one.size),
    lambda one, _: (-one.last, -one.size),
    _by_conflicts,
)


def plan(lifetimes: Sequence[Lifetime], alignment: int, planner: str = BEST) -> Plan:
    """A plan by the ``planner`` of that name, one of ``PLANNERS``.

    ``exact`` raises ``ModelError`` where it cannot prove that no plan is smaller.
    """
    return PLANNERS[planner](lifetimes, alignment)


def greedy_by_size(lifetimes: Sequence[Lifetime], alignment: int) -> Plan:
    """The largest buffer first."""
    return first_fit(lifetimes, alignment, _sorted(lifetimes, _by_size))


def greedy_by_conflicts(lifetimes: Sequence[Lifetime], alignment: int) -> Plan:
    """The buffer first that is in use together with most others."""
    return first_fit(lifetimes, alignment, _sorted(lifetimes, _by_conflicts))


def hill_climb(lifetimes: Sequence[Lifetime], alignment: int) -> Plan:
    """Greedy by size, then buffers swapped in its order for as long as that needs no more.

    The same buffers give the same plan: chance has a fixed seed.
    """
    return _smallest(lifetimes, alignment, _climb(lifetimes, alignment))


def best(lifetimes: Sequence[Lifetime], alignment: int) -> Plan:
    """The smallest plan of several orders and of the hill climber."""

    def plans() -> Iterator[Plan]:
        for key in _ORDERS:
            yield first_fit(lifetimes, alignment, _sorted(lifetimes, key))
        yield from _climb(lifetimes, alignment)

    return _smallest(lifetimes, alignment, plans())


def _proven(lifetimes: Sequence[Lifetime], alignment: int) -> Plan:
    return exact(lifetimes, alignment, best(lifetimes, alignment))


PLANNERS: dict[str, Callable[[Sequence[Lifetime], int], Plan]] = {
    BEST: best,
    "greedy_by_size": greedy_by_size,
    "greedy_by_conflicts": greedy_by_conflicts,
    "hill_climb": hill_climb,
    "exact": _proven,
}


def _smallest(lifetimes: Sequence[Lifetime], alignment: int, plans: Iterator[Plan]) -> Plan:
    """The first of the smallest ``plans``; none is tried after one that cannot be improved."""
    bound = lower_bound(lifetimes, alignment)
    found = next(plans)
    while found.peak > bound and (other := next(plans, None)) is not None:
        found = other if other.peak < found.peak else found
    return found


def _climb(lifetimes: Sequence[Lifetime], alignment: int) -> Iterator[Plan]:
    """Plans, none larger than the one before: in each something at the top was moved."""
    draw = random.Random(0)
    order = _sorted(lifetimes, _by_size)
    here = first_fit(lifetimes, alignment, order)
    yield here
    for _ in range(_SWAPS):
        top = [
            place
            for place, index in enumerate(order)
            if place and here.offsets[index] + lifetimes[index].size > here.peak - alignment
        ]
        if not top:
            return
        last = draw.choice(top)
        earlier = draw.randrange(last)
        swapped = list(order)
        swapped[earlier], swapped[last] = swapped[last], swapped[earlier]
        there = first_fit(lifetimes, alignment, swapped)
        if there.peak <= here.peak:
            order, here = swapped, there
            yield here


def _sorted(lifetimes: Sequence[Lifetime], key: _Key) -> list[int]:
    conflicts = [sum(one.conflicts(other) for other in lifetimes) for one in lifetimes]
    return sorted(range(len(lifetimes)), key=lambda k: key(lifetimes[k], conflicts[k]))
