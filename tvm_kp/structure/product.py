"""One Kronecker product: W = [A_0 ⊗ B_0; A_1 ⊗ B_1; …].

Shapes are rejected by a few sampled entries; only survivors are verified.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from tvm_kp import kronecker
from tvm_kp.kronecker import Factors, Shape
from tvm_kp.structure.base import DAMAGE, EXACT, TINY, ULP, Form, Structure, cut, relative, within
from tvm_kp.structure.shapes import factor_shapes, plausible

_SAMPLES = 96


@dataclass(frozen=True)
class Product(Structure):
    """W = [A_0 ⊗ B_0; A_1 ⊗ B_1; …], one pair a row block.

    ``factors`` is ((m1, n1), (m2, n2)); ``a`` (blocks, m1, n1) and ``b`` (blocks, m2, n2) are
    float32; ``order`` is one of ``kronecker.matvec``'s.
    """

    name: ClassVar[str] = "kronecker"
    factors: Factors
    a: np.ndarray
    b: np.ndarray

    @property
    def macs(self) -> int:
        return self.blocks * kronecker.macs(self.factors, self.order)

    @property
    def nbytes(self) -> int:
        return self.a.nbytes + self.b.nbytes

    @property
    def shape(self) -> Shape:
        (m1, n1), (m2, n2) = self.factors
        return self.blocks * m1 * m2, n1 * n2

    def columns(self, start: int, stop: int) -> Product:
        """The smallest product that has columns ``start`` to ``stop`` of W, with all of B.

        Its first column is W's column ``start - start % n2``.
        """
        (m1, _), (m2, n2) = self.factors
        a = self.a[:, :, start // n2 : -(-stop // n2)]
        factors = (m1, a.shape[2]), (m2, n2)
        return replace(self, factors=factors, a=a, order=kronecker.order_of(factors))


def find(gates: np.ndarray, tolerance: float = 0.0) -> Product | None:
    """The cheapest product that pays; None means that there is none or that none does."""
    return next((found for found in _search(gates, tolerance) if found.pays), None)


def search(w: np.ndarray, blocks: int = 1, tolerance: float = 0.0) -> Iterator[Product]:
    """All Kronecker products that ``w`` (rows, cols) is, cheapest first by MACs, then by bytes.

    With ``tolerance`` 0 only exact ones: see ``EXACT``. Otherwise those with a relative Frobenius
    error up to it; sampling may then overlook one whose norm is in a few entries. Each structure
    is verified when it is asked for. Structures with a factor of 1 × 1 are left out, and those
    that do not pay are given too. Raises ``ValueError`` for anything but a finite real matrix
    whose rows divide into ``blocks``.
    """
    yield from _search(cut(w, blocks), tolerance)


def _search(gates: np.ndarray, tolerance: float) -> Iterator[Product]:
    shapes = factor_shapes(gates.shape[1], gates.shape[2])
    for gate in gates:
        if not tolerance:
            shapes = sampled(gate, shapes)
    for factors in shapes:
        if tolerance and not plausible(gates, factors, tolerance):
            continue
        found = verified(gates, factors, tolerance)
        if found is not None:
            yield found


def confirm(gates: np.ndarray, form: Form, tolerance: float = 0.0) -> Product | None:
    """The product with exactly the factor shapes of ``form``, or None."""
    first, second = form.factors
    return verified(gates, (first, second), tolerance)


def is_nearly(gates: np.ndarray) -> bool:
    """Whether one product differs from W by ``DAMAGE`` only: W is a product that was changed."""
    largest = DAMAGE * float(np.abs(gates).max())
    for factors in factor_shapes(gates.shape[1], gates.shape[2]):
        if plausible(gates, factors, 4 * DAMAGE):
            fitted = (kronecker.row_chunks(gate, *kronecker.fit(gate, factors)) for gate in gates)
            if all((abs(part - near) <= largest).all() for gate in fitted for part, near in gate):
                return True
    return False


def sampled(w: np.ndarray, shapes: list[Factors]) -> list[Factors]:
    """The shapes that no sampled 2 × 2 minor of W's rearrangement contradicts.

    In A ⊗ B, an entry x times the pivot p equals the product of the two entries that have A's
    part of the one place and B's part of the other: never rejects what is within ``EXACT``.
    """
    rows, cols = _places(w)
    p_row, p_col = rows[0], cols[0]
    sizes = np.array([second for _, second in shapes], np.intp).reshape(-1, 2, 1)
    m2, n2 = sizes[:, 0], sizes[:, 1]
    row_b, col_b, p_row_b, p_col_b = rows % m2, cols % n2, p_row % m2, p_col % n2
    wide = w[rows, cols].astype(np.float64) * w[p_row, p_col]
    a_part = w[rows - row_b + p_row_b, cols - col_b + p_col_b].astype(np.float64)
    b_part = w[p_row - p_row_b + row_b, p_col - p_col_b + col_b]
    # Four entries, each within EXACT ulps.
    bound = 4.1 * EXACT * ULP * np.abs(wide) + 4 * TINY * abs(float(w[p_row, p_col]))
    kept = (np.abs(wide - a_part * b_part) <= bound).all(axis=1)
    return [shape for shape, keep in zip(shapes, kept, strict=True) if keep]


def _places(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the sampled entries; the first is the pivot, the largest entry."""
    random = np.random.default_rng(0)
    high, low = int(w.argmax()), int(w.argmin())
    if abs(float(w.flat[low])) > abs(float(w.flat[high])):
        high, low = low, high
    anywhere = random.integers(w.size, size=_SAMPLES)
    # The largest entries of some rows: in a sparse matrix random places see only zeros.
    some = random.integers(len(w), size=_SAMPLES)
    largest = some * w.shape[1] + np.abs(w[some]).argmax(axis=1)
    return np.divmod(np.concatenate([[high, low], anywhere, largest]), w.shape[1])


def verified(gates: np.ndarray, factors: Factors, tolerance: float) -> Product | None:
    """The structure with these factor shapes, or None where the whole of W contradicts it."""
    pairs = []
    missed = norm = 0.0
    for gate in gates:
        a, b = (factor.astype(np.float32) for factor in kronecker.fit(gate, factors))
        for part, product in kronecker.row_chunks(gate, a, b):
            difference = np.abs(part.astype(np.float64) - product)
            if not tolerance and not within(difference, part):
                return None
            missed += float(np.square(difference).sum())
            norm += float(np.square(part, dtype=np.float64).sum())
        pairs.append((a, b))
    error = relative(missed, norm)
    if tolerance and error > tolerance:
        return None
    a, b = (np.stack(side) for side in zip(*pairs, strict=True))
    return Product(len(gates), error, factors, kronecker.order_of(factors), a, b)
