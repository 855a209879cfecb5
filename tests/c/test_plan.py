"""Bytes that no plan can do without, and buffers at the lowest free offsets."""

from __future__ import annotations

from tvm_kp.c.plan import Lifetime, Plan, aligned, first_fit, lower_bound


def test_nothing_needs_nothing() -> None:
    assert lower_bound([], 8) == 0
    assert first_fit([], 8, []) == Plan((), 0)


def test_one_after_the_other_share_memory() -> None:
    ones = [Lifetime(100, 0, 1), Lifetime(60, 2, 3)]
    assert lower_bound(ones, 8) == 104
    assert first_fit(ones, 8, [0, 1]) == Plan((0, 0), 104)


def test_what_a_statement_reads_and_writes_lies_apart() -> None:
    ones = [Lifetime(100, 0, 1), Lifetime(60, 1, 3)]
    assert lower_bound(ones, 8) == 168
    assert first_fit(ones, 8, [0, 1]) == Plan((0, 104), 168)
    assert first_fit(ones, 8, [1, 0]) == Plan((64, 0), 168)


def test_gaps_are_filled() -> None:
    ones = [Lifetime(8, 0, 9), Lifetime(16, 0, 1), Lifetime(8, 0, 9), Lifetime(16, 2, 9)]
    assert first_fit(ones, 8, [0, 1, 2, 3]) == Plan((0, 8, 24, 8), 32)


def test_sizes_are_rounded_up() -> None:
    assert [aligned(size, 8) for size in (0, 1, 8, 9)] == [0, 8, 8, 16]
