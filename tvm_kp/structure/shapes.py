"""The shapes that the factors of a matrix can have, and samples of the rearranged matrix."""

from __future__ import annotations

import numpy as np

from tvm_kp import kronecker
from tvm_kp.kronecker import Factors

SIDE = 64


def divisors(size: int) -> list[int]:
    """All of them, ascending."""
    return [k for k in range(1, size + 1) if size % k == 0]


def factor_shapes(rows: int, cols: int) -> list[Factors]:
    """Every ((m1, n1), (m2, n2)) without a 1 × 1 factor, in the order of cost."""
    shapes: list[Factors] = [
        ((m1, n1), (rows // m1, cols // n1)) for m1 in divisors(rows) for n1 in divisors(cols)
    ]
    return sorted((s for s in shapes if (1, 1) not in s), key=cost)


def cost(factors: Factors) -> tuple[int, int]:
    """MACs and weights of one pair of factors."""
    (m1, n1), (m2, n2) = factors
    return kronecker.macs(factors, kronecker.order_of(factors)), m1 * n1 + m2 * n2


def places(size: int, count: int, random: np.random.Generator) -> np.ndarray:
    """Up to ``count`` different indices below ``size``."""
    if size < 4096:
        return random.permutation(size)[:count]
    return random.choice(size, count, replace=False, shuffle=False)


def part(gate: np.ndarray, factors: Factors, in_a: np.ndarray, in_b: np.ndarray) -> np.ndarray:
    """The rows ``in_a`` (entries of A) and columns ``in_b`` (of B) of the rearranged matrix."""
    (m1, n1), (m2, n2) = factors
    blocks = gate.reshape(m1, m2, n1, n2)
    return blocks[(in_a // n1)[:, None], in_b // n2, (in_a % n1)[:, None], in_b % n2]


def plausible(gates: np.ndarray, factors: Factors, tolerance: float, terms: int = 1) -> bool:
    """Whether a sampled part of the rearranged blocks is about as near to rank ``terms``."""
    (m1, n1), (m2, n2) = factors
    random = np.random.default_rng(0)
    missed = norm = 0.0
    for gate in gates:
        in_a, in_b = (places(size, SIDE, random) for size in (m1 * n1, m2 * n2))
        sampled = part(gate, factors, in_a, in_b).astype(np.float64)
        squares = np.linalg.svd(sampled, compute_uv=False) ** 2
        missed, norm = missed + squares[terms:].sum(), norm + squares.sum()
    return missed <= (1.5 * tolerance) ** 2 * norm
