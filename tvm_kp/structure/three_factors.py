"""Three factors: W_g = A_g ⊗ B_g ⊗ C_g."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from math import prod
from typing import ClassVar

import numpy as np

from tvm_kp import kronecker
from tvm_kp.kronecker import Shape
from tvm_kp.structure import product
from tvm_kp.structure.base import EXACT, Form, Structure, relative, within
from tvm_kp.structure.shapes import factor_shapes, plausible

# One product more, and one fit more, than in two factors: half an ulp each, and the rounding of
# the fitted B ⊗ C that is not stored.
THREE_EXACT = 1.5 * EXACT
Shapes = tuple[Shape, Shape, Shape]
ORDERS = tuple("".join(order) for order in permutations("abc"))


@dataclass(frozen=True)
class ThreeFactors(Structure):
    """W_g = A_g ⊗ B_g ⊗ C_g for each row block g.

    ``a``, ``b`` and ``c`` are (blocks, rows, columns) of each factor in float32; with x as a
    tensor (n1, n2, n3) each factor is multiplied along its axis, in ``order``: "cab" say.
    """

    name: ClassVar[str] = "three factors"
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    @property
    def macs(self) -> int:
        return self.blocks * macs(self.factors, self.order)

    @property
    def nbytes(self) -> int:
        return self.a.nbytes + self.b.nbytes + self.c.nbytes

    @property
    def shape(self) -> Shape:
        return self.blocks * prod(m for m, _ in self.factors), prod(n for _, n in self.factors)


def macs(factors: tuple[Shape, ...], order: str) -> int:
    """Multiply-accumulates of a matvec of one block with the factors in the given order."""
    sizes = [n for _, n in factors]
    total = 0
    for index in map("abc".index, order):
        sizes[index], depth = factors[index][0], sizes[index]
        total += prod(sizes) * depth
    return total


def order_of(factors: tuple[Shape, ...]) -> str:
    """The order with the fewest MACs."""
    return min(ORDERS, key=lambda order: macs(factors, order))


def find(gates: np.ndarray, tolerance: float = 0.0) -> ThreeFactors | None:
    """The cheapest product of three factors that pays; exact means ``THREE_EXACT``."""
    rows, cols = gates.shape[1:]
    shapes = factor_shapes(rows, cols)
    if tolerance:
        shapes = [factors for factors in shapes if plausible(gates, factors, tolerance)]
    for gate in gates if not tolerance else ():
        shapes = product.sampled(gate, shapes)
    candidates = [(macs(three, order_of(three)), _weights(three), three) for three in _all(shapes)]
    for cost, weights, factors in sorted(candidates):
        if cost < rows * cols and weights < rows * cols:
            found = _verified(gates, factors, tolerance)
            if found is not None:
                return found
    return None


def confirm(gates: np.ndarray, form: Form, tolerance: float = 0.0) -> ThreeFactors | None:
    """The product with exactly the factor shapes of ``form``, or None."""
    first, second, third = form.factors
    return _verified(gates, (first, second, third), tolerance)


def _all(shapes: list[kronecker.Factors]) -> Iterator[Shapes]:
    """Every A, B, C of which both A ⊗ (B ⊗ C) and (A ⊗ B) ⊗ C are among ``shapes``."""
    for (m1, n1), _ in shapes:
        for (m12, n12), (m3, n3) in shapes:
            if m12 % m1 == 0 and n12 % n1 == 0 and (m12, n12) != (m1, n1):
                yield (m1, n1), (m12 // m1, n12 // n1), (m3, n3)


def _weights(factors: Shapes) -> int:
    return sum(m * n for m, n in factors)


def _verified(gates: np.ndarray, factors: Shapes, tolerance: float) -> ThreeFactors | None:
    first, second, third = factors
    rest = second[0] * third[0], second[1] * third[1]
    fitted = []
    missed = norm = 0.0
    for gate in gates:
        a, b_c = kronecker.fit(gate, (first, rest))
        b, c = kronecker.fit(b_c, (second, third))
        a, b, c = (factor.astype(np.float32) for factor in (a, b, c))
        for part, found in kronecker.row_chunks(gate, a, kronecker.kron(b, c)):
            difference = np.abs(part.astype(np.float64) - found)
            if not tolerance and not within(difference, part, THREE_EXACT):
                return None
            missed += float(np.square(difference).sum())
            norm += float(np.square(part, dtype=np.float64).sum())
        fitted.append((a, b, c))
    error = relative(missed, norm)
    if tolerance and error > tolerance:
        return None
    a, b, c = (np.stack(side) for side in zip(*fitted, strict=True))
    return ThreeFactors(len(gates), error, factors, order_of(factors), a, b, c)
