"""The search with a cost model, on costs that are known for every way."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from tvm_kp.kernel.schedule import Way
from tvm_kp.tuning import Task
from tvm_kp.tuning.candidates import Failure
from tvm_kp.tuning.evolution import Evolution
from tvm_kp.tuning.measure import Cost

ROWS, COLUMNS, UNROLLED, LOOPS = (1, 2, 3, 4, 6, 8), (1, 2, 4, 8), range(6), ("for", "while", "do")
PRODUCT = [
    Way("product", 1, {"rows": r, "columns": c, "unrolled": u, "loop": loop})
    for r, c, u, loop in itertools.product(ROWS, COLUMNS, UNROLLED, LOOPS)
]
# Another rule, which asks something else.
WAYS = (*PRODUCT, *(Way("dots", 1, {"lanes": n}) for n in range(8)))
BEST = WAYS.index(Way("product", 1, {"rows": 3, "columns": 4, "unrolled": 3, "loop": "while"}))


def price(way: Way) -> Cost:
    """Few registers: large tiles spill, and some of those cannot be compiled at all."""
    if way.rule == "dots":
        return 900.0 + way.choices["lanes"]
    rows, columns, unrolled, loop = way.choices.values()
    if rows * columns > 32:
        return Failure("build", "out of registers")
    loads = 1000 * (1 / rows + 1 / columns)
    spilled = 100 * max(0, rows * columns - 12)
    return loads + spilled + 20 * abs(unrolled - 3) + (0 if loop == "while" else 50)


def search(task: Task, price: Callable[[Way], Cost], batch: int, most: int) -> list[int]:
    """What is tried, in order, of at most ``most``."""
    evolution, tried = Evolution(task), [0]
    evolution.tell({0: price(task.ways[0])})
    while len(tried) < most and (places := evolution.propose(batch)):
        assert len(places) == min(batch, len(task.ways) - len(tried))
        tried += places
        evolution.tell({place: price(task.ways[place]) for place in places})
    return tried


@pytest.fixture(scope="module")
def many(task: Task) -> Task:
    return replace(task, ways=WAYS)


@pytest.fixture(scope="module")
def tried(many: Task) -> list[int]:
    return search(many, price, batch=32, most=160)


def test_the_best_is_found_early(tried: list[int]) -> None:
    costs = {place: price(way) for place, way in enumerate(WAYS)}
    right = {place: cost for place, cost in costs.items() if not isinstance(cost, Failure)}
    assert min(right, key=lambda place: right[place]) == BEST
    assert len(right) < len(WAYS), "some fail"
    assert tried.index(BEST) < len(WAYS) * 0.35


def test_nothing_is_tried_twice(tried: list[int]) -> None:
    assert len(set(tried)) == len(tried)


def test_it_ends_when_all_is_tried(task: Task) -> None:
    some = replace(task, ways=WAYS[:70])
    assert sorted(search(some, price, batch=16, most=1000)) == list(range(70))


def test_all_may_fail(task: Task) -> None:
    some = replace(task, ways=WAYS[:70])
    found = search(some, lambda _: Failure("crash", ""), batch=16, most=1000)
    assert sorted(found) == list(range(70))


def test_two_searches_at_once(many: Task) -> None:
    """A session goes from one task to another and back."""
    one, other = Evolution(many), Evolution(many)
    places = one.propose(16)
    assert len(set(places)) == 16
    one.tell({place: price(WAYS[place]) for place in places})
    assert len(set(other.propose(16))) == 16
    assert not set(one.propose(16)) & set(places)
