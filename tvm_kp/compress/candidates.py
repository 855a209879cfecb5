"""The forms that a matrix can have, and which of them is best for so many numbers.

Those are kept that no other beats in rank, MACs and numbers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import isqrt, prod
from typing import Literal, NamedTuple

from tvm_kp.compress.forms import MOST_TERMS, Form, Kronecker, LowRank
from tvm_kp.kronecker import Factors, Shape

Objective = Literal["rank", "size", "macs"]

# More than so many rows are dense only if that is at most half of a form's numbers.
_FEW_ROWS = 8


class Candidate(NamedTuple):
    """A form with what it comes to for one gate."""

    form: Form
    rank: int
    macs: int
    parameters: int


KEYS: dict[str, Callable[[Candidate], tuple[int, int, int]]] = {
    "rank": lambda c: (-c.rank, c.macs, c.parameters),
    "size": lambda c: (c.parameters, c.macs, -c.rank),
    "macs": lambda c: (c.macs, c.parameters, -c.rank),
}


def best(rows: int, cols: int, allowed: int, objective: Objective) -> Candidate | None:
    """The best form of at most ``allowed`` numbers."""
    fitting = [c for c in candidates(rows, cols) if c.parameters <= allowed]
    largest = max((c.rank for c in fitting), default=0)
    return min((c for c in fitting if 2 * c.rank >= largest), key=KEYS[objective], default=None)


def smallest(rows: int, cols: int) -> int:
    """Numbers of one gate in the smallest form, or dense if none is smaller."""
    return min((c.parameters for c in candidates(rows, cols)), default=rows * cols)


@lru_cache(256)
def candidates(rows: int, cols: int) -> list[Candidate]:
    """The forms smaller than the dense matrix that no other beats or equals in every respect."""
    kept: list[Candidate] = []
    found = [*_kroneckers(rows, cols), *_low_ranks(rows, cols)]
    for form in sorted(found, key=KEYS["rank"]):
        if all(form.macs < k.macs or form.parameters < k.parameters for k in kept):
            kept.append(form)
    return kept


def shapes(rows: int, cols: int) -> Iterator[Factors]:
    """Every ((m1, n1), (m2, n2)) with m1 ≤ m2, neither 1 × 1: the others are the same swapped."""
    widths = sorted({pair for n1, n2 in _pairs(cols) for pair in ((n1, n2), (n2, n1))})
    for m1, m2 in _pairs(rows):
        for n1, n2 in widths:
            if (1, 1) not in ((m1, n1), (m2, n2)):
                yield (m1, n1), (m2, n2)


def _kroneckers(rows: int, cols: int) -> Iterator[Candidate]:
    # Half of a dense matrix are half of its rows.
    for dense_rows in range(min(rows, max(_FEW_ROWS + 1, rows // 2))):
        for a, b in shapes(rows - dense_rows, cols):
            if dense_rows > _FEW_ROWS and dense_rows * cols > prod(a) + prod(b):
                continue
            rank = 0
            for terms in range(1, 2 if dense_rows else MOST_TERMS + 1):
                form = _candidate(Kronecker((a, b), terms, dense_rows), rows, cols)
                if form.rank == rank or form.parameters >= rows * cols:
                    break  # more terms only make it larger
                rank = form.rank
                yield form


def _low_ranks(rows: int, cols: int) -> Iterator[Candidate]:
    for rank in range(1, -(-rows * cols // (rows + cols))):
        yield _candidate(LowRank(rank), rows, cols)


def _candidate(form: Form, rows: int, cols: int) -> Candidate:
    numbers = form.parameters(rows, cols)
    return Candidate(form, form.max_rank(rows, cols), form.macs(rows, cols), numbers)


def _pairs(number: int) -> list[Shape]:
    """All (p, q) with p·q = ``number`` and p ≤ q."""
    return [(p, number // p) for p in range(1, isqrt(number) + 1) if number % p == 0]
