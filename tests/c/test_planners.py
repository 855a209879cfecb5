"""Every planner's plan of any lifetimes is valid, and each is what its name says."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from tvm_kp import graph
from tvm_kp.c.lifetimes import lifetimes
from tvm_kp.c.lower_main import lower_main
from tvm_kp.c.plan import Lifetime, Plan, aligned, lower_bound
from tvm_kp.c.planners import BEST, PLANNERS, plan
from tvm_kp.kernel.schedule import schedule

SETS = 10_000


def drawn(draw: random.Random, most: int) -> list[Lifetime]:
    """Up to ``most`` buffers, short-lived and long-lived, some of them empty."""
    last = draw.randint(1, most)

    def one() -> Lifetime:
        first = draw.randint(0, last)
        length = draw.choice((draw.randint(0, 2), draw.randint(0, last)))
        return Lifetime(draw.choice((draw.randint(0, 300), 64)), first, min(last, first + length))

    return [one() for _ in range(draw.randint(0, most))]


def check(ones: list[Lifetime], alignment: int, found: Plan) -> None:
    assert len(found.offsets) == len(ones)
    highest = 0
    for index, (one, offset) in enumerate(zip(ones, found.offsets, strict=True)):
        assert offset >= 0 and offset % alignment == 0
        highest = max(highest, offset + one.size)
        for other, at in zip(ones[:index], found.offsets[:index], strict=True):
            apart = offset + one.size <= at or at + other.size <= offset
            assert apart or one.last < other.first or other.last < one.first
    assert found.peak == aligned(highest, alignment)


def test_plans_of_random_lifetimes() -> None:
    draw = random.Random(0)
    for _ in range(SETS):
        ones, alignment = drawn(draw, 10), draw.choice((1, 4, 8, 16, 64))
        bound = lower_bound(ones, alignment)
        peaks = {}
        for name in PLANNERS:
            found = plan(ones, alignment, name)
            check(ones, alignment, found)
            peaks[name] = found.peak
        assert bound <= peaks["exact"] == min(peaks.values())
        assert peaks[BEST] == min(size for name, size in peaks.items() if name != "exact")
        assert peaks["hill_climb"] <= peaks["greedy_by_size"]


def test_planners_are_deterministic() -> None:
    draw = random.Random(1)
    for ones in [drawn(draw, 30) for _ in range(10)]:
        for name in set(PLANNERS) - {"exact"}:
            assert plan(ones, 8, name) == plan(list(ones), 8, name)


def test_by_size_and_by_conflicts() -> None:
    # The small one meets both others, which are never in use together.
    ones = [Lifetime(16, 0, 1), Lifetime(8, 1, 2), Lifetime(24, 2, 3)]
    assert plan(ones, 8, "greedy_by_size").offsets == (0, 24, 0)
    assert plan(ones, 8, "greedy_by_conflicts").offsets == (8, 0, 8)


def test_climbing_ends_below_greedy_by_size() -> None:
    draw = random.Random(2)
    sets = [drawn(draw, 40) for _ in range(20)]
    climbed, greedy = (
        [plan(ones, 8, name).peak for ones in sets] for name in ("hill_climb", "greedy_by_size")
    )
    assert sum(a < b for a, b in zip(climbed, greedy, strict=True)) >= 5


class Net(nn.Module):
    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(inputs, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, (h, _) = self.rnn(x)
        return self.head(h[0])


@pytest.mark.parametrize("shape", [(5, 3, 4, 2), (25, 10, 118, 12), (9, 16, 7, 1), (1, 1, 1, 1)])
def test_networks_of_one_scan_need_no_more_than_the_bound(shape: tuple[int, ...]) -> None:
    steps, *sizes = shape
    mod = graph.import_torch(Net(*sizes), (torch.zeros(1, steps, sizes[0]),))
    legal = graph.legalize()(graph.FactorizeKronecker()(graph.normalize()(mod)))
    found = list(lifetimes(lower_main(legal, schedule(legal, ("fpu", "dsp")))).values())
    assert found
    assert plan(found, 8).peak == lower_bound(found, 8)
