"""Where the buffers of a program lie: in the model's own workspace, or in pools of the caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from tvm_kp.c.lifetimes import lifetimes
from tvm_kp.c.memory_settings import MemorySettings
from tvm_kp.c.plan import Plan, lower_bound
from tvm_kp.c.planners import plan
from tvm_kp.c.program import Buffer, Program
from tvm_kp.errors import FitError


@dataclass(frozen=True)
class Memory:
    """The pool and byte offset of every planned buffer, "" being the model's own workspace.

    ``pools`` are the bytes that are used of each pool of the caller, ``workspace_bytes`` those of
    all and of the model's own, ``bound`` what no plan in one piece can do without.
    """

    places: Mapping[Buffer, tuple[str, int]]
    pools: Mapping[str, int]
    workspace_bytes: int
    bound: int


def arrange(program: Program, alignment: int, settings: MemorySettings) -> Memory:
    """Plan the memory of ``program``; raises ``FitError`` if the pools are too small.

    Pools are filled in their order, each with what fits of the buffers that are accessed most
    for their size; of equal ones, and if something is left over then, the largest come first.
    A pool that gets none is left out.
    """
    used = lifetimes(program, settings.workspace_io)
    pools = settings.pools or {"": None}

    def planned(buffers: Sequence[Buffer]) -> Plan:
        return plan([used[buffer] for buffer in buffers], alignment, settings.planner)

    for order in _orders(program, used) if settings.pools else [list(used)]:
        filled, left = _fill(order, pools, planned)
        if not left:
            break
    else:
        last, limit = list(pools.items())[-1]
        _refuse(last, planned([*filled[last], *left]).peak, limit or 0)
    places: dict[Buffer, tuple[str, int]] = {}
    sizes: dict[str, int] = {}
    for pool, chosen in filled.items():
        if chosen:
            found = planned(chosen)
            sizes[pool] = found.peak
            places |= {b: (pool, at) for b, at in zip(chosen, found.offsets, strict=True)}
    bound = lower_bound(list(used.values()), alignment)
    return Memory(places, sizes if settings.pools else {}, sum(sizes.values()), bound)


def _fill(
    order: Sequence[Buffer],
    pools: Mapping[str, int | None],
    planned: Callable[[Sequence[Buffer]], Plan],
) -> tuple[dict[str, list[Buffer]], list[Buffer]]:
    """The buffers in each pool, and those that fit none."""
    filled: dict[str, list[Buffer]] = {}
    left = list(order)
    for pool, limit in pools.items():
        filled[pool] = left if limit is None else _that_fit(left, limit, planned)
        left = [buffer for buffer in left if buffer not in filled[pool]]
    return filled, left


def _that_fit(
    waiting: Sequence[Buffer], limit: int, planned: Callable[[Sequence[Buffer]], Plan]
) -> list[Buffer]:
    """As many of ``waiting``, one after the other, as can be planned in ``limit`` bytes."""
    chosen: list[Buffer] = []
    for buffer in waiting:
        if buffer.nbytes <= limit and planned([*chosen, buffer]).peak <= limit:
            chosen.append(buffer)
    return chosen


def _refuse(pool: str, need: int, limit: int) -> NoReturn:
    raise FitError(
        f"the workspace does not fit its pools: {pool} lacks {need - limit:,} bytes, {need:,} are "
        f"needed there and {limit:,} given; make a pool larger or add one"
    )


def _orders(program: Program, buffers: Iterable[Buffer]) -> Iterator[list[Buffer]]:
    """Those first of which a byte is read or written most often in an inference; the largest."""
    accessed: Counter[Buffer] = Counter()
    for statement, loop in program.flat():
        for view in (*statement.inputs, *statement.outputs):
            steps = 1 if loop is None else loop.steps
            accessed[view.location()[0]] += steps * view.nbytes
    largest = sorted(buffers, key=lambda buffer: -buffer.nbytes)
    yield sorted(largest, key=lambda buffer: -accessed[buffer] / max(1, buffer.nbytes))
    yield largest
