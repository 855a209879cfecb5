"""Parts cover what they are parts of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.c.parts import runs, split

FEW = st.integers(1, 40)


@given(FEW, FEW, st.booleans())
def test_runs_cover_all_once(length: int, size: int, overlaps: bool) -> None:
    covered = [
        k
        for run in runs(length, size, overlaps)
        for time in range(run.times)
        for k in range(run.first + time * run.step, run.first + time * run.step + run.size)
    ]
    assert set(covered) == set(range(length))
    assert len(covered) == length or (overlaps and length > size and len(covered) % size == 0)


@given(FEW, FEW, FEW)
def test_what_is_split_is_whole(count: int, unit: int, most: int) -> None:
    before, times, trip = split(count, unit, most)
    assert before + times * trip == count
    assert times != 0 or count <= most
    assert max(before, trip) <= max(most, 1)
