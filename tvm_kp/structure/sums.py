"""Sums of few Kronecker products: W_g = Σ_k A_gk ⊗ B_gk, all terms with the same shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tvm_kp import kronecker
from tvm_kp.kronecker import Factors, Shape
from tvm_kp.structure import rank
from tvm_kp.structure.base import Form, Structure, relative
from tvm_kp.structure.shapes import cost, factor_shapes, part, places, plausible

MOST_TERMS = 3
_SAMPLES = (8, 48)


@dataclass(frozen=True)
class KroneckerSum(Structure):
    """W_g = Σ_k A_gk ⊗ B_gk for each row block g.

    ``factors`` is ((m1, n1), (m2, n2)); ``a`` (blocks, terms, m1, n1) and ``b`` (blocks, terms,
    m2, n2) are float32. The terms share the two products of a single one: they only make the
    inner sizes larger, so MACs and bytes are those of one term times their number.
    """

    name: ClassVar[str] = "kronecker sum"
    factors: Factors
    a: np.ndarray
    b: np.ndarray

    @property
    def terms(self) -> int:  # type: ignore[override]
        return self.a.shape[1]

    @property
    def macs(self) -> int:
        return self.blocks * self.terms * kronecker.macs(self.factors, self.order)

    @property
    def nbytes(self) -> int:
        return self.a.nbytes + self.b.nbytes

    @property
    def shape(self) -> Shape:
        (m1, n1), (m2, n2) = self.factors
        return self.blocks * m1 * m2, n1 * n2

    @property
    def text(self) -> str:
        return f"{super().text}, {self.terms} terms"


def find(gates: np.ndarray, tolerance: float = 0.0) -> KroneckerSum | None:
    """The cheapest sum of 2 to ``MOST_TERMS`` products that pays, the fewest terms of its shapes.

    With ``tolerance`` 0 exact within ``rank.SUM_EXACT``, else up to that relative error.
    """
    shapes = _paying(gates.shape[1], gates.shape[2])
    if tolerance:
        candidates = [(s, t) for s in shapes for t in range(2, MOST_TERMS + 1)]
    else:
        candidates = _sampled(gates, shapes)
    best: KroneckerSum | None = None
    for factors, terms in sorted(candidates, key=lambda c: (c[1] * cost(c[0])[0], c[1])):
        if best is not None and best.cost[0] < len(gates) * terms * cost(factors)[0]:
            break
        if tolerance and not plausible(gates, factors, tolerance, terms):
            continue
        found = _verified(gates, factors, terms, tolerance)
        if found is not None and found.pays and (best is None or found.cost < best.cost):
            best = found
    return best


def confirm(gates: np.ndarray, form: Form, tolerance: float = 0.0) -> KroneckerSum | None:
    """The sum with exactly the factor shapes and terms of ``form``, or None."""
    first, second = form.factors
    return _verified(gates, (first, second), form.terms, tolerance)


def _paying(rows: int, cols: int) -> list[Factors]:
    """The shapes of which two terms pay; without those of a matrix of low rank."""
    return [
        shapes
        for shapes in factor_shapes(rows, cols)
        if 2 * cost(shapes)[0] < rows * cols
        and 2 * cost(shapes)[1] < rows * cols
        and sorted(shapes) != sorted(((rows, 1), (1, cols)))
    ]


def _sampled(gates: np.ndarray, shapes: list[Factors]) -> list[tuple[Factors, int]]:
    """The shapes that samples do not contradict, and how many terms they need at least."""
    least = dict.fromkeys(shapes, 2)
    for count in _SAMPLES:
        for gate in gates:
            if not least:
                return []
            ranks = rank.sampled_ranks(np.stack([_sample(gate, s, count) for s in least]))
            seen = zip(list(least.items()), ranks.tolist(), strict=True)
            least = {s: max(t, found) for (s, t), found in seen if found <= MOST_TERMS}
    return list(least.items())


def _sample(gate: np.ndarray, factors: Factors, count: int) -> np.ndarray:
    random = np.random.default_rng(0)
    sides = (places(rows * columns, count, random) for rows, columns in factors)
    # A row that is there twice adds nothing to the rank.
    in_a, in_b = (np.resize(side, count) for side in sides)
    return part(gate, factors, in_a, in_b)


def _verified(
    gates: np.ndarray, factors: Factors, terms: int, tolerance: float
) -> KroneckerSum | None:
    """The sum with these shapes: of at least ``terms`` terms, with a tolerance of just those."""
    (m1, n1), (m2, n2) = factors
    pairs = []
    missed = norm = 0.0
    for gate in gates:
        r = gate.reshape(m1, m2, n1, n2).transpose(0, 2, 1, 3).reshape(m1 * n1, -1)
        r = r.astype(np.float64)
        if tolerance:
            u, v, _ = rank.leading(r, terms)
            pair = u.astype(np.float32), v.astype(np.float32)
        else:
            # A gate may need fewer terms than others.
            exact = rank.exact(r, 1 if len(gates) > 1 else terms, MOST_TERMS)
            if exact is None:
                return None
            pair = exact
        missed += rank.missed(r, *pair)
        norm += float(np.square(r).sum())
        pairs.append(pair)
    error = relative(missed, norm)
    if tolerance and error > tolerance:
        return None
    a, b = rank.stacked(pairs)
    return KroneckerSum(
        len(gates),
        error,
        factors,
        kronecker.order_of(factors),
        a.transpose(0, 2, 1).reshape(len(gates), -1, m1, n1),
        b.transpose(0, 2, 1).reshape(len(gates), -1, m2, n2),
    )
