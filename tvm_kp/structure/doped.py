"""Doped: a Kronecker product in each row block, and few single entries of W added to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tvm_kp import kronecker
from tvm_kp.kronecker import Factors, Shape
from tvm_kp.structure.base import EXACT, TINY, ULP, Form, Structure, relative
from tvm_kp.structure.product import Product
from tvm_kp.structure.shapes import cost, factor_shapes

# More single entries than this share of W are not looked for.
MOST = 0.02
# Half of the added entries are at least this large beside W's, and each is this much of the
# product's entry in its place: less is a changed product.
_TYPICAL = 2.0**-7
_SMALLEST = 2.0**-13
_MINORS = 64


@dataclass(frozen=True)
class Doped(Structure):
    """W = [A_0 ⊗ B_0; A_1 ⊗ B_1; …] + S with few entries in S.

    ``kept`` is the product; ``rows``, ``columns`` (of W, in the smallest of int16 and int32 that
    holds both) and ``values`` (float32) are the ``nonzeros`` entries of S, row by row.
    """

    name: ClassVar[str] = "doped"
    kept: Product
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    @property
    def nonzeros(self) -> int:  # type: ignore[override]
        return len(self.values)

    @property
    def macs(self) -> int:
        return self.kept.macs + self.nonzeros

    @property
    def nbytes(self) -> int:
        return self.kept.nbytes + self.rows.nbytes + self.columns.nbytes + self.values.nbytes

    @property
    def shape(self) -> Shape:
        return self.kept.shape

    @property
    def text(self) -> str:
        return f"{super().text} and {self.nonzeros} entries"


def find(gates: np.ndarray, _tolerance: float = 0.0) -> Doped | None:
    """The cheapest doped product that pays, exact whatever the tolerance.

    Exact is an entry that the product makes within ``EXACT``, or one of S that makes up for it.
    """
    rows, cols = gates.shape[1:]
    shapes = [s for s in factor_shapes(rows, cols) if max(cost(s)) < rows * cols]
    for gate in gates:
        shapes = [factors for factors in shapes if _plausible(gate, factors)]
    found = (_verified(gates, factors) for factors in shapes)
    paying = [one for one in found if one is not None and one.pays]
    return min(paying, key=lambda one: one.cost, default=None)


def confirm(gates: np.ndarray, form: Form, _tolerance: float = 0.0) -> Doped | None:
    """The doped product with exactly the factor shapes of ``form``, or None."""
    first, second = form.factors
    return _verified(gates, (first, second))


def _plausible(gate: np.ndarray, factors: Factors) -> bool:
    """Whether most sampled 2 × 2 minors of the rearranged matrix vanish.

    Of four entries that are each changed with a chance of ``MOST`` some are in 8 % of minors.
    """
    (m1, n1), (m2, n2) = factors
    random = np.random.default_rng(0)
    a, other_a = _pairs(random, m1 * n1)
    b, other_b = _pairs(random, m2 * n2)
    blocks = gate.reshape(m1, m2, n1, n2)

    def at(in_a: np.ndarray, in_b: np.ndarray) -> np.ndarray:
        return blocks[in_a // n1, in_b // n2, in_a % n1, in_b % n2].astype(np.float64)

    one, two = at(a, b) * at(other_a, other_b), at(a, other_b) * at(other_a, b)
    vanish = np.abs(one - two) <= 4.1 * EXACT * ULP * np.abs(one) + TINY
    telling = one != 0
    return bool(telling.sum() >= _MINORS // 16 and vanish[telling].mean() > 0.6)


def _pairs(random: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of different indices below ``size``."""
    first = random.integers(size, size=_MINORS)
    return first, (first + random.integers(1, size, size=_MINORS)) % size


def _verified(gates: np.ndarray, factors: Factors) -> Doped | None:
    pairs, left = [], []
    for gate in gates:
        a, b = (factor.astype(np.float32) for factor in _robust(gate, factors))
        made = kronecker.kron(a.astype(np.float64), b.astype(np.float64))
        rest = gate - made
        added = np.abs(rest) > EXACT * ULP * np.abs(gate) + TINY
        if added.sum() > MOST * gates.size or (abs(rest) < _SMALLEST * abs(made))[added].any():
            return None
        pairs.append((a, b))
        left.append((rest, added))
    rest, added = (np.concatenate(side) for side in zip(*left, strict=True))
    rows, columns = np.nonzero(added)
    values = rest[added].astype(np.float32)
    typical = _TYPICAL * np.sqrt(np.square(gates, dtype=np.float64).mean())
    if not 0 < len(values) <= MOST * gates.size or np.median(np.abs(values)) < typical:
        return None
    rest[added] -= values
    error = relative(np.square(rest).sum(), np.square(gates, dtype=np.float64).sum())
    a, b = (np.stack(side) for side in zip(*pairs, strict=True))
    order = kronecker.order_of(factors)
    kept = Product(len(gates), error, factors, order, a, b)
    index = np.int16 if max(rest.shape) <= np.iinfo(np.int16).max else np.int32
    places = rows.astype(index), columns.astype(index)
    return Doped(len(gates), error, factors, order, kept, *places, values)


def _robust(gate: np.ndarray, factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """A and B of most entries of the gate: all others replaced by what these two make."""
    a, b = _medians(gate, factors)
    made = kronecker.kron(a, b)
    agrees = np.abs(gate - made) <= _SMALLEST / 2 * np.abs(made)
    return kronecker.fit(np.where(agrees, gate, made), factors)


def _medians(gate: np.ndarray, factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """A and B by medians of ratios, in which few changed entries count for nothing.

    Rows of the rearranged matrix are multiples of one of them: A is the medians of the ratios to
    the row that is largest in the median, B those of the columns' ratios to A.
    """
    (m1, n1), (m2, n2) = factors
    r = gate.reshape(m1, m2, n1, n2).transpose(0, 2, 1, 3).reshape(m1 * n1, -1)
    r = r.astype(np.float64)
    pivot = r[np.median(np.abs(r), axis=1).argmax()]
    a = np.median(r[:, pivot != 0] / pivot[pivot != 0], axis=1)
    b = np.median(r[a != 0] / a[a != 0, None], axis=0)
    return a.reshape(m1, n1), b.reshape(m2, n2)
