"""Scalars are in the registers that are said to have them, when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.c.instructions import Instructions
from tvm_kp.c.scalars import Packed, Rows

ROWS, STEPS = st.integers(1, 7), st.integers(1, 20)


def held(lines: list[tuple[str, str, int]]) -> dict[str, int]:
    """Which word every register was loaded from last."""
    words: dict[str, int] = {}
    for line, pointer, place in lines:
        if pointer:
            names = re.findall(r"\br\d+\b", line)
            words |= {name: place // 4 + k for k, name in enumerate(names)}
    return words


@given(ROWS, STEPS, st.booleans())
def test_packed_ones_follow_each_other(
    executed: Callable, rows: int, steps: int, whole: bool
) -> None:
    code = Instructions()
    scalars = Packed(code, 0, steps, rows, whole=whole)
    for k in range(steps):
        for row in [*range(rows), *(range(rows) if whole else ())]:
            register = scalars.register(row, k)
            assert held(executed(code.lines))[register] == k * rows + row
    together = 8 - 8 % rows if whole else 8
    assert len(code.lines) == -(-rows * steps // together)


@given(st.integers(1, 4), STEPS, st.integers(20, 200))
def test_rows_are_loaded_side_by_side(
    executed: Callable, rows: int, steps: int, apart: int
) -> None:
    code = Instructions()
    scalars = Rows(code, 0, steps, rows, apart=4 * apart)
    for k in range(steps):
        for row in range(rows):
            register = scalars.register(row, k)
            assert held(executed(code.lines))[register] == row * apart + k
    assert not any(line.startswith(("add", "sub")) for line in code.lines)


@pytest.mark.parametrize(("rows", "expected"), [(1, 1), (2, 6), (3, 10), (4, 16)])
def test_loads_of_eight_steps(rows: int, expected: int) -> None:
    code = Instructions()
    scalars = Rows(code, 0, 8, rows, apart=32)
    assert all(scalars.register(row, k) for k in range(8) for row in range(rows))
    assert len(code.lines) == expected
