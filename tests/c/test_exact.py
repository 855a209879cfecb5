"""The exact planner against trying every offset, and where it gives up."""

from __future__ import annotations

import random

import pytest

from tvm_kp.c import exact as search
from tvm_kp.c.plan import Lifetime, first_fit, lower_bound
from tvm_kp.c.planners import plan
from tvm_kp.errors import ModelError


def drawn(draw: random.Random, count: int, last: int) -> list[Lifetime]:
    """Buffers of 0 to 3 bytes, and every statement filled up, so that nothing has room."""
    spans = [sorted((draw.randint(0, last), draw.randint(0, last))) for _ in range(count)]
    ones = [Lifetime(draw.randint(0, 3), *span) for span in spans]
    used = [sum(o.size for o in ones if o.first <= at <= o.last) for at in range(last + 1)]
    filled = [Lifetime(max(used) - n, at, at) for at, n in enumerate(used) if n < max(used)]
    return sorted(ones + filled, key=lambda one: (one.first, -one.size))


def fits(ones: list[Lifetime], peak: int, placed: tuple[int, ...] = ()) -> bool:
    """Whether some offsets need no more than ``peak``, by trying them all."""
    if len(placed) == len(ones):
        return True
    one = ones[len(placed)]
    return any(
        all(
            at + one.size <= other or other + before.size <= at or not one.conflicts(before)
            for before, other in zip(ones, placed, strict=False)
        )
        and fits(ones, peak, (*placed, at))
        for at in range(peak - one.size + 1)
    )


def test_no_offsets_need_less() -> None:
    draw = random.Random(0)
    above = 0
    for _ in range(300):
        ones = drawn(draw, draw.randint(1, 7), draw.randint(0, 6))
        worst = first_fit(ones, 1, range(len(ones)))
        found = search.exact(ones, 1, worst).peak
        assert fits(ones, found) and not fits(ones, found - 1)
        above += found > lower_bound(ones, 1)
    assert above  # such that the bound alone would not have told


def test_one_buffer_twice() -> None:
    ones = [Lifetime(8, 0, 1)] * 2
    assert search.exact(ones, 8, first_fit([Lifetime(24, 0, 1)], 8, [0])).peak == 16


def test_some_tens_of_buffers() -> None:
    draw = random.Random(3)
    for ones in [drawn(draw, 24, 12) for _ in range(5)]:
        assert lower_bound(ones, 8) <= plan(ones, 8, "exact").peak <= plan(ones, 8, "best").peak


def test_what_cannot_be_proven_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    sets = (drawn(draw, 20, 9) for _ in range(1000))
    hard = next(ones for ones in sets if plan(ones, 1, "best").peak > lower_bound(ones, 1))
    monkeypatch.setattr(search, "LIMIT", 30)
    with pytest.raises(
        ModelError, match=r"cannot prove that .* bytes are the least for \d+ buffers"
    ):
        plan(hard, 1, "exact")
    monkeypatch.setattr(search, "MOST", 9)
    with pytest.raises(ModelError, match="gives up beyond 9 buffers"):
        plan(hard, 1, "exact")
