"""Which candidates to try next."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Protocol

from tvm_kp.tuning.measure import Cost
from tvm_kp.tuning.tasks import Task


class Search(Protocol):
    """Searches the ways of one task, by their indices."""

    def propose(self, count: int) -> list[int]:
        """Up to ``count`` ways of which nothing is known; none if there is nothing left."""

    def tell(self, costs: Mapping[int, Cost]) -> None:
        """What ways cost that were proposed, or measured in another session."""


class InOrder:
    """Tries ways in a given order."""

    def __init__(self, order: list[int]) -> None:
        self._left = dict.fromkeys(order)

    def propose(self, count: int) -> list[int]:
        return list(self._left)[:count]

    def tell(self, costs: Mapping[int, Cost]) -> None:
        for place in costs:
            self._left.pop(place, None)


def grid(task: Task) -> Search:
    """All ways, in the order in which the rules offer them."""
    return InOrder(list(range(len(task.ways))))


def at_random(task: Task) -> Search:
    """All ways in a random order, the same in every session."""
    return InOrder(random.Random(task.key).sample(range(len(task.ways)), len(task.ways)))


def evolved(task: Task) -> Search:
    """The best ones first, as far as a model of costs can tell: see ``evolution``."""
    from tvm_kp.tuning.evolution import Evolution

    return Evolution(task)


SEARCHES: dict[str, Callable[[Task], Search]] = {
    "xgb": evolved,
    "random": at_random,
    "grid": grid,
}
