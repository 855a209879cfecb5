"""Hybrid: dense rows on top, a Kronecker product below, W_g = [D_g; A_g ⊗ B_g]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tvm_kp import kronecker
from tvm_kp.kronecker import Factors, Shape
from tvm_kp.structure import product
from tvm_kp.structure.base import EXACT, TINY, ULP, Form, Structure
from tvm_kp.structure.product import Product
from tvm_kp.structure.shapes import cost, divisors

# Dense rows that are a continuation of the product but for this share are no rows of their own:
# the whole is a product of which entries were changed.
_DAMAGE = 2.0**-7
# Heights of B that are tried for each of its widths: a matrix with more is something simpler.
_HEIGHTS = 64
_GATES = (2, 3, 4)


@dataclass(frozen=True)
class Hybrid(Structure):
    """W_g = [D_g; A_g ⊗ B_g] for each row block g.

    ``top`` is D, (blocks, split_row, columns) in float32; ``below`` the product, which
    ``factors`` and ``order`` are of.
    """

    name: ClassVar[str] = "hybrid"
    top: np.ndarray
    below: Product

    @property
    def split_row(self) -> int:  # type: ignore[override]
        return self.top.shape[1]

    @property
    def macs(self) -> int:
        return self.top.size + self.below.macs

    @property
    def nbytes(self) -> int:
        return self.top.nbytes + self.below.nbytes

    @property
    def shape(self) -> Shape:
        rows, cols = self.below.shape
        return self.blocks * self.split_row + rows, cols

    @property
    def text(self) -> str:
        return f"{super().text} below {self.split_row} dense rows"


def find(gates: np.ndarray, _tolerance: float = 0.0) -> Hybrid | None:
    """The cheapest hybrid that pays, exact whatever the tolerance: see ``EXACT``.

    Overlooked are products of which the last block row is zero.
    """
    _, rows, cols = gates.shape

    def of(factors: Factors) -> tuple[int, int]:
        macs, weights = cost(factors)
        dense = (rows - factors[0][0] * factors[1][0]) * cols
        return macs + dense, weights + dense

    paying = [shapes for shapes in _candidates(gates) if max(of(shapes)) < rows * cols]
    for factors in sorted(paying, key=of):
        found = _verified(gates, factors)
        if found is not None and not _is_damaged(gates, found.below):
            return found
    return None


def confirm(gates: np.ndarray, form: Form, tolerance: float = 0.0) -> Hybrid | None:
    """The hybrid with exactly the factor shapes of ``form``, or None."""
    first, second = form.factors
    if first[0] * second[0] + form.split_row != gates.shape[1]:
        return None
    return _verified(gates, (first, second), tolerance)


def _verified(gates: np.ndarray, factors: Factors, tolerance: float = 0.0) -> Hybrid | None:
    split = gates.shape[1] - factors[0][0] * factors[1][0]
    norms = [float(np.linalg.norm(part.astype(np.float64))) for part in (gates[:, split:], gates)]
    share = norms[0] / norms[1] if norms[0] else 1.0
    below = product.verified(gates[:, split:], factors, tolerance / share)
    if below is None:
        return None
    error = below.error * share
    top = np.ascontiguousarray(gates[:, :split])
    return Hybrid(len(gates), error, factors, below.order, top, below)


def _candidates(gates: np.ndarray) -> set[Factors]:
    """Shapes of products that may end all gates and leave rows above."""
    _, rows, cols = gates.shape
    result: set[Factors] = set()
    for n2 in divisors(cols):
        fits = []
        for gate in gates:
            fits.append(_fits(gate, n2))
            if fits[-1] == (0, {}):
                break
        one_row = min(run for run, _ in fits)
        shapes = {((1, cols // n2), (one_row, n2))}
        for m2 in set.intersection(*(set(many) for _, many in fits)):
            shapes.add(((min(many[m2] for _, many in fits), cols // n2), (m2, n2)))
        result |= {(a, b) for a, b in shapes if 0 < a[0] * b[0] < rows and (1, 1) not in (a, b)}
    return result


def _fits(gate: np.ndarray, n2: int) -> tuple[int, dict[int, int]]:
    """How tall B of width ``n2`` may be with A of one row; and A for each other height of B.

    The last row tells: it must be a ⊗ b itself, rows with the same a above it are of the same
    row of A, and one with the same b is a whole B above it.
    """
    rows = len(gate)
    last = int(np.flatnonzero(gate.any(axis=1))[-1]) if gate.any() else 0
    below = gate[max(0, last - 1) : last + 1].astype(np.float64)
    # With n2 of 1 every row is a ⊗ b, and then a B of one row is none.
    if not _parts(below[-1:], n2)[0].all() or (n2 == 1 and not _parallel(below, below[-1]).all()):
        return 0, {}
    is_product, a, b = _parts(gate, n2)
    same_a = is_product & _parallel(a, a[last])
    same_b = is_product & _parallel(b, b[last])
    run = int(np.argmin(np.append(same_a[::-1], False)))
    heights = [m2 for m2 in range(rows - last, min(run, last) + 1) if same_b[last - m2]]
    return run, {m2: _repeats(gate, m2, n2) for m2 in heights[:_HEIGHTS]}


def _parts(gate: np.ndarray, n2: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether each row is a ⊗ b with b of ``n2`` entries; multiples of all a, and of all b."""
    wide = gate.reshape(len(gate), -1, n2).astype(np.float64)
    if n2 == gate.shape[1]:
        return np.ones(len(gate), bool), np.ones((len(gate), 1)), wide[:, 0]
    each = np.arange(len(gate))
    of_a, of_b = np.divmod(np.abs(gate).argmax(axis=1), n2)
    a, b, pivot = wide[each, :, of_b], wide[each, of_a], wide[each, of_a, of_b]
    equal = _equal(wide * pivot[:, None, None], a[:, :, None] * b[:, None])
    return np.asarray(equal.all(axis=(1, 2))), a, b


def _parallel(vectors: np.ndarray, to: np.ndarray) -> np.ndarray:
    pivot = np.abs(to).argmax()
    return np.asarray(_equal(vectors * to[pivot], vectors[:, pivot, None] * to).all(axis=1))


def _equal(wide: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether products of two entries of W are the same, each entry within EXACT."""
    return np.abs(wide - other) <= 4.1 * EXACT * ULP * np.abs(wide) + TINY


def _repeats(gate: np.ndarray, m2: int, n2: int) -> int:
    """How many block rows from the last up are multiples of one B, column block by block."""
    blocks = _block_rows(gate, m2, n2)
    b = kronecker.fit(gate[-m2:], ((1, blocks.shape[2]), (m2, n2)))[1]
    a = _continued(blocks, b)
    difference = np.abs(blocks - a[:, None, :, None] * b[None, :, None])
    fits = (difference <= 2 * EXACT * ULP * np.abs(blocks) + TINY).all(axis=(1, 2, 3))
    return int(np.argmin(np.append(fits[::-1], False)))


def _block_rows(gate: np.ndarray, m2: int, n2: int) -> np.ndarray:
    """As many blocks of ``m2`` rows as there are, (count, m2, n1, n2)."""
    count = len(gate) // m2
    return gate[len(gate) - count * m2 :].astype(np.float64).reshape(count, m2, -1, n2)


def _continued(blocks: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The row of A that makes each block row nearest to a ⊗ B, (count, n1)."""
    return np.asarray(np.einsum("kmin,mn->ki", blocks, b) / (float((b * b).sum()) or 1.0))


def _is_damaged(gates: np.ndarray, below: Product) -> bool:
    """Whether the rows above the product nearly continue it: then they are not dense rows.

    They may belong to its row of A, to its B, or be a product of the same shapes, right above
    or where it would be in another gate: then another gate is the one that is no product.
    """
    (m1, n1), (m2, n2) = below.factors
    split = gates.shape[1] - m1 * m2
    for gate, a, b in zip(gates, below.a, below.b, strict=True):
        wide = gate[:split].astype(np.float64)
        row = wide[-1].reshape(n1, n2)
        if m1 == 1 and _near(row, np.outer(a[0], a[0] @ row / (a[0] @ a[0] or 1.0))):
            return True
        if split >= m2:
            above = wide[-m2:].reshape(1, m2, n1, n2)
            ahead = _continued(above, b.astype(np.float64))
            if _near(above, ahead[:, None, :, None] * b[None, :, None]):
                return True
        ends = [len(gate) - len(gate) // count for count in _GATES if len(gate) % count == 0]
        for end in {split, *(end for end in ends if end <= split)}:
            rows = wide[max(0, end - m1 * m2) : end]
            if len(rows) == m1 * m2 and kronecker.nearest(rows, below.factors)[2] < _DAMAGE:
                return True
    return False


def _near(part: np.ndarray, product: np.ndarray) -> bool:
    return float(np.linalg.norm(part - product)) < _DAMAGE * float(np.linalg.norm(part))
