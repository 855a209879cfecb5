from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest

from tvm_kp.kernel.schedule import Way
from tvm_kp.tuning import SEARCHES, Task
from tvm_kp.tuning.candidates import Failure
from tvm_kp.tuning.search import Search, at_random, grid


@pytest.fixture(scope="module")
def many(task: Task) -> Task:
    """A task with 40 ways."""
    return replace(task, ways=tuple(Way("rule", 1, {"n": n}) for n in range(40)))


def proposals(search: Search, count: int) -> list[list[int]]:
    """All that is proposed until nothing is left; every third fails."""
    found: list[list[int]] = []
    while places := search.propose(count):
        found.append(places)
        search.tell({k: Failure("wrong", "") if k % 3 == 0 else k + 1.0 for k in places})
    return found


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("count", [7, 64])
def test_all_are_tried_once(many: Task, name: str, count: int) -> None:
    batches = proposals(SEARCHES[name](many), count)
    assert sorted(chain(*batches)) == list(range(40))
    assert all(len(batch) == count for batch in batches[:-1])


@pytest.mark.parametrize("name", SEARCHES)
def test_what_is_known_is_not_tried(many: Task, name: str) -> None:
    search = SEARCHES[name](many)
    known = {k: k + 1.0 for k in range(0, 40, 2)}
    search.tell(known)
    assert sorted(chain(*proposals(search, 8))) == list(range(1, 40, 2))


def test_grid_goes_in_order(many: Task) -> None:
    assert grid(many).propose(5) == [0, 1, 2, 3, 4]


def test_chance_is_the_same_in_every_session(many: Task) -> None:
    first, second = (at_random(many).propose(40) for _ in range(2))
    assert first == second != sorted(first)
    assert at_random(replace(many, key="other")).propose(40) != first


@pytest.mark.parametrize("name", SEARCHES)
def test_a_single_way(task: Task, name: str) -> None:
    search = SEARCHES[name](replace(task, ways=task.ways[:1]))
    assert search.propose(8) == [0]
    search.tell({0: 5.0})
    assert search.propose(8) == []
