"""The plan of any lifetimes is valid, and never worse than what it is compared with."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tvm_kp import graph
from tvm_kp.c.lifetimes import lifetimes
from tvm_kp.c.lower_main import lower_main
from tvm_kp.c.plan import Lifetime, Plan, lower_bound, plan
from tvm_kp.kernel.schedule import schedule

alignments = st.sampled_from([1, 4, 8, 16, 64])
spans = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted)
several = st.lists(
    st.builds(lambda size, span: Lifetime(size, *span), st.integers(0, 300), spans), max_size=14
)
quick = settings(deadline=None, max_examples=200)


def aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def greedy_by_size(ones: list[Lifetime], alignment: int) -> int:
    """The peak of placing the largest first at the lowest free offset: TVM's own planner."""
    placed: list[tuple[Lifetime, int]] = []
    for one in sorted(ones, key=lambda o: (-o.size, o.first)):
        others = sorted((at, at + o.size) for o, at in placed if o.conflicts(one))
        offset = 0
        for start, end in others:
            if offset + one.size <= start:
                break
            offset = max(offset, aligned(end, alignment))
        placed.append((one, offset))
    return aligned(max((at + o.size for o, at in placed), default=0), alignment)


@quick
@given(several, alignments)
def test_a_plan_is_valid(ones: list[Lifetime], alignment: int) -> None:
    found = plan(ones, alignment)
    places = list(zip(ones, found.offsets, strict=True))
    for index, (one, offset) in enumerate(places):
        assert offset >= 0 and offset % alignment == 0
        assert offset + one.size <= found.peak
        for other, at in places[:index]:
            apart = offset + one.size <= at or at + other.size <= offset
            assert apart or not one.conflicts(other)


@quick
@given(several, alignments)
def test_a_plan_is_between_the_bound_and_greedy(ones: list[Lifetime], alignment: int) -> None:
    assert lower_bound(ones, alignment) <= plan(ones, alignment).peak
    assert plan(ones, alignment).peak <= greedy_by_size(ones, alignment)


@given(several, alignments)
def test_a_plan_is_deterministic(ones: list[Lifetime], alignment: int) -> None:
    assert plan(ones, alignment) == plan(list(ones), alignment)


def test_small_plans() -> None:
    assert plan([], 8) == Plan((), 0)
    assert lower_bound([], 8) == 0
    one_after_the_other = [Lifetime(100, 0, 1), Lifetime(60, 2, 3)]
    assert plan(one_after_the_other, 8) == Plan((0, 0), 104)
    # Statement 1 reads the first and writes the second.
    assert plan([Lifetime(100, 0, 1), Lifetime(60, 1, 3)], 8).peak == 168


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
