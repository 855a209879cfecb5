"""Search for Kronecker structure in the numbers of a weight matrix.

W is cut in equal row blocks (the gates of an RNN), each tested for being A_g ⊗ B_g, all with the
same factor shapes. Shapes are rejected by a few sampled entries; only survivors are verified.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tvm_kp import kronecker
from tvm_kp.kronecker import Factors

# The largest difference between an entry of W and of the float32 product of its factors, in ulps
# (2⁻²³) of that entry. An exact product makes W's own rounding (half an ulp), the fit of A and B
# to rounded entries (half each), their rounding to float32 (half each) and that of the product
# (half) at most 3; one more is left for a W scaled once. Being relative to each entry it implies
# a Frobenius error below 4.8e-7, and a few huge entries cannot hide that the others do not fit.
EXACT = 4.0
_ULP = 2.0**-23
# Below the smallest normal number ulps do not shrink any more: two roundings of half of 2⁻¹⁴⁹.
_TINY = 2.0**-149
_SAMPLES = 96
_SIDE = 64


@dataclass(frozen=True)
class Structure:
    """W = [A_0 ⊗ B_0; A_1 ⊗ B_1; …], one pair a row block.

    ``factors`` is ((m1, n1), (m2, n2)); ``a`` (blocks, m1, n1) and ``b`` (blocks, m2, n2) are
    float32; ``error`` is the relative Frobenius error of their float32 product against W;
    ``macs`` and ``nbytes`` are of all blocks together.
    """

    blocks: int
    factors: Factors
    order: str
    a: np.ndarray
    b: np.ndarray
    error: float

    @property
    def macs(self) -> int:
        return self.blocks * kronecker.macs(self.factors, self.order)

    @property
    def nbytes(self) -> int:
        return self.a.nbytes + self.b.nbytes

    @property
    def pays(self) -> bool:
        """Fewer MACs and fewer bytes than the dense matrix."""
        (m1, n1), (m2, n2) = self.factors
        dense = self.blocks * m1 * m2 * n1 * n2
        return self.macs < dense and self.nbytes < 4 * dense


def find(w: np.ndarray, blocks: int = 1, tolerance: float = 0.0) -> Structure | None:
    """The cheapest structure of ``w`` that needs fewer MACs and bytes than ``w``; see ``search``.

    None means that there is no structure or that none pays; ``next(search(...), None)`` gives the
    cheapest one whether it pays or not.
    """
    return next((found for found in search(w, blocks, tolerance) if found.pays), None)


def search(w: np.ndarray, blocks: int = 1, tolerance: float = 0.0) -> Iterator[Structure]:
    """All Kronecker structures of ``w`` (rows, cols), cheapest first by MACs, then by bytes.

    With ``tolerance`` 0 only exact ones: see ``EXACT``. Otherwise those with a relative Frobenius
    error up to it; sampling may then overlook one whose norm is in a few entries. Each structure
    is verified when it is asked for. Structures with a factor of 1 × 1 are left out, and those
    that do not pay are given too. Raises ``ValueError`` for anything but a finite real matrix
    whose rows divide into ``blocks``.
    """
    gates = _gates(w, blocks)
    shapes = _factor_shapes(gates.shape[1], gates.shape[2])
    for gate in gates:
        if not tolerance:
            shapes = _sampled(gate, shapes)
    for factors in shapes:
        if tolerance and not _plausible(gates, factors, tolerance):
            continue
        found = _verified(gates, factors, tolerance)
        if found is not None:
            yield found


def confirm(
    w: np.ndarray, blocks: int, factors: Factors, tolerance: float = 0.0
) -> Structure | None:
    """The structure of ``w`` with exactly these factor shapes, or None; see ``search``."""
    return _verified(_gates(w, blocks), factors, tolerance)


def _gates(w: np.ndarray, blocks: int) -> np.ndarray:
    if w.ndim != 2 or 0 in w.shape or w.dtype.kind not in "fiub":
        raise ValueError(f"a {w.dtype} array of shape {w.shape}; a real matrix is needed")
    if blocks < 1 or len(w) % blocks:
        raise ValueError(f"{len(w)} rows do not divide into {blocks} blocks")
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(w, np.float32)
    # min and max carry a NaN through and need no copy of a large matrix.
    if not (np.isfinite(single.min()) and np.isfinite(single.max())):
        raise ValueError("the matrix has NaN or infinite entries (as float32); give finite ones")
    return single.reshape(blocks, len(w) // blocks, w.shape[1])


def _factor_shapes(rows: int, cols: int) -> list[Factors]:
    """Every ((m1, n1), (m2, n2)) without a 1 × 1 factor, in the order of cost."""
    shapes: list[Factors] = [
        ((m1, n1), (rows // m1, cols // n1)) for m1 in _divisors(rows) for n1 in _divisors(cols)
    ]
    return sorted((s for s in shapes if (1, 1) not in s), key=_cost)


def _divisors(size: int) -> list[int]:
    return [k for k in range(1, size + 1) if size % k == 0]


def _cost(factors: Factors) -> tuple[int, int]:
    (m1, n1), (m2, n2) = factors
    return kronecker.macs(factors, kronecker.order_of(factors)), m1 * n1 + m2 * n2


def _sampled(w: np.ndarray, shapes: list[Factors]) -> list[Factors]:
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
    bound = 4.1 * EXACT * _ULP * np.abs(wide) + 4 * _TINY * abs(float(w[p_row, p_col]))
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


def _plausible(gates: np.ndarray, factors: Factors, tolerance: float) -> bool:
    """Whether a sampled part of the rearranged blocks is about as near to rank one."""
    (m1, n1), (m2, n2) = factors
    random = np.random.default_rng(0)
    missed = norm = 0.0
    for gate in gates:
        in_a, in_b = (
            random.permutation(size)[:_SIDE] if size < 4096 else random.integers(size, size=_SIDE)
            for size in (m1 * n1, m2 * n2)
        )
        part = gate.reshape(m1, m2, n1, n2)[
            (in_a // n1)[:, None], in_b // n2, (in_a % n1)[:, None], in_b % n2
        ]
        squares = np.linalg.svd(part.astype(np.float64), compute_uv=False) ** 2
        missed, norm = missed + squares[1:].sum(), norm + squares.sum()
    return missed <= (1.5 * tolerance) ** 2 * norm


def _verified(gates: np.ndarray, factors: Factors, tolerance: float) -> Structure | None:
    """The structure with these factor shapes, or None where the whole of W contradicts it."""
    pairs = []
    missed = norm = 0.0
    for gate in gates:
        a, b = (factor.astype(np.float32) for factor in kronecker.fit(gate, factors))
        for part, product in kronecker.row_chunks(gate, a, b):
            difference = np.abs(part.astype(np.float64) - product)
            if not tolerance and not _within(difference, part):
                return None
            missed += float(np.square(difference).sum())
            norm += float(np.square(part, dtype=np.float64).sum())
        pairs.append((a, b))
    error = float(np.sqrt(missed / norm)) if norm else 0.0
    if tolerance and error > tolerance:
        return None
    a, b = (np.stack(side) for side in zip(*pairs, strict=True))
    return Structure(len(gates), factors, kronecker.order_of(factors), a, b, error)


def _within(difference: np.ndarray, exact: np.ndarray) -> bool:
    return bool((difference <= EXACT * _ULP * np.abs(exact) + _TINY).all())
