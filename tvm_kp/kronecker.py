"""Kronecker products in numpy: the product, its matvec and cost, the nearest factors.

    y = (A ⊗ B)·v    is    Y = A·V·Bᵀ    with V = v.reshape(n1, n2), y = Y.reshape(m1·m2)

A is m1 × n1, B is m2 × n2, A ⊗ B is m1·m2 × n1·n2. "a_first" is (A·V)·Bᵀ, "b_first" A·(V·Bᵀ).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Shape = tuple[int, int]
Factors = tuple[Shape, Shape]

# Directions iterated together by ``nearest``: it converges with (σ9/σ1)² a step, not (σ2/σ1)².
_DIRECTIONS = 8
_STEPS = 100
_CHUNK = 1 << 18


def kron(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A ⊗ B, (m1·m2, n1·n2), in the factors' dtype: every entry is one rounded product."""
    (m1, n1), (m2, n2) = a.shape, b.shape
    return (a[:, None, :, None] * b[None, :, None, :]).reshape(m1 * m2, n1 * n2)


def matvec(a: np.ndarray, b: np.ndarray, v: np.ndarray, order: str) -> np.ndarray:
    """(A ⊗ B)·v without multiplying out; ``v`` is (..., n1·n2), the result (..., m1·m2)."""
    lead = v.shape[:-1]
    panel = v.reshape(*lead, a.shape[1], b.shape[1])
    result = (a @ panel) @ b.T if _checked(order) == "a_first" else a @ (panel @ b.T)
    return result.reshape(*lead, a.shape[0] * b.shape[0])


def macs(factors: Factors, order: str) -> int:
    """Multiply-accumulates of one matvec of A ⊗ B in the given order."""
    (m1, n1), (m2, n2) = factors
    if _checked(order) == "a_first":
        return m1 * n2 * (n1 + m2)
    return n1 * m2 * (n2 + m1)


def order_of(factors: Factors) -> str:
    """The order with fewer MACs; of equal ones that with the smaller intermediate."""
    (m1, n1), (m2, n2) = factors
    held = {"a_first": m1 * n2, "b_first": n1 * m2}
    return min(held, key=lambda order: (macs(factors, order), held[order]))


def factor_shapes(rows: int, cols: int) -> Factors:
    """Shapes of A and B for a new rows × cols layer, by the prime factors of both sides.

    Each side is split in two near-equal numbers; A takes the smaller of the rows' and the larger
    of the columns', B the others: 118 × 128 gives (2, 16) and (59, 8). A prime side is split as
    1 and itself, so prefer sizes with many small prime factors.
    """
    (m1, m2), (n2, n1) = _pair(rows), _pair(cols)
    return (m1, n1), (m2, n2)


def nearest(w: np.ndarray, factors: Factors) -> tuple[np.ndarray, np.ndarray, float]:
    """The A, B that minimize ‖W − A ⊗ B‖_F, and ‖W − A ⊗ B‖_F / ‖W‖_F.

    ``w`` is (m1·m2, n1·n2) of any real dtype; A and B are float64 and of equal norm. W rearranged
    to one row an entry of A (Van Loan and Pitsianis) has rank one exactly when W = A ⊗ B; the
    factors are its leading singular vectors, found by subspace iteration. Takes some 20 bytes an
    entry of ``w`` at most. Raises ``ValueError`` if the shapes do not fit.
    """
    a, b = fit(w, factors)
    missed = norm = 0.0
    for part, product in row_chunks(w, a, b):
        exact = part.astype(np.float64)
        missed += float(np.square(exact - product).sum())
        norm += float(np.square(exact).sum())
    return a, b, float(np.sqrt(missed / norm)) if norm else 0.0


def fit(w: np.ndarray, factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """A and B of ``nearest``, without the pass over ``w`` that its error takes."""
    (m1, n1), (m2, n2) = factors
    if w.shape != (m1 * m2, n1 * n2):
        raise ValueError(f"factors {m1}x{n1} and {m2}x{n2} make {m1 * m2}x{n1 * n2}, not {w.shape}")
    a, b = _leading(_rearranged(w, factors))
    if m1 * n1 > m2 * n2:
        a, b = b, a
    norm_a, norm_b = np.linalg.norm(a), np.linalg.norm(b)
    if norm_a > 0 and norm_b > 0:
        a, b = a * np.sqrt(norm_b / norm_a), b * np.sqrt(norm_a / norm_b)
    return a.reshape(m1, n1), b.reshape(m2, n2)


def row_chunks(
    w: np.ndarray, a: np.ndarray, b: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of W beside the same rows of A ⊗ B, so that a comparison needs little memory."""
    step = max(1, _CHUNK // w.shape[1])
    for first in range(0, len(w), step):
        part = w[first : first + step]
        of_a, of_b = np.divmod(np.arange(first, first + len(part)), len(b))
        yield part, (a[of_a, :, None] * b[of_b, None, :]).reshape(part.shape)


def _checked(order: str) -> str:
    if order not in ("a_first", "b_first"):
        raise ValueError(f"order {order!r}; there are 'a_first' and 'b_first'")
    return order


def _pair(size: int) -> tuple[int, int]:
    """``size`` as a product of two: its smallest prime factors merged until two are left."""
    if size < 1:
        raise ValueError(f"a side of {size}; sides are at least 1")
    primes, divisor = [], 2
    while size > 1:
        while size % divisor == 0:
            primes.append(divisor)
            size //= divisor
        divisor += 1
    while len(primes) > 2:
        primes = sorted([primes[0] * primes[1], *primes[2:]])
    small, large = [1, 1, *primes][-2:]
    return small, large


def _rearranged(w: np.ndarray, factors: Factors) -> np.ndarray:
    """W with a row for every entry of the smaller factor, a column for the larger; float64."""
    (m1, n1), (m2, n2) = factors
    blocks = w.reshape(m1, m2, n1, n2)
    # Rows of the smaller factor make the longest runs, and so the fastest copy.
    axes = (1, 3, 0, 2) if m1 * n1 > m2 * n2 else (0, 2, 1, 3)
    view = blocks.transpose(axes)
    result = np.empty(view.shape, np.float64)
    for target, source in zip(result, view, strict=True):
        target[...] = source
    return result.reshape(min(m1 * n1, m2 * n2), -1)


def _leading(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """u (rows,), v (columns,) with u·vᵀ the best approximation of rank one."""
    squares = np.einsum("ij,ij->i", r, r)
    u = _fit(r, r[squares.argmax()])
    v = _fit(r.T, u)
    missed = squares.sum() - (u @ u) * (v @ v)
    if missed > 1e-12 * squares.sum():
        v = _fit(r.T, _dominant(r))
    # A last fit makes every entry as exact as its own row of R, however small it is.
    return _fit(r, v), v


def _dominant(r: np.ndarray) -> np.ndarray:
    """The leading left singular vector of ``r``, not normalized."""
    width = min(_DIRECTIONS, len(r))
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((len(r), width)))[0]
    before = -1.0
    for _ in range(_STEPS):
        image = r @ (r.T @ basis)
        values, vectors = np.linalg.eigh(basis.T @ image)
        if values[-1] - before <= 1e-14 * values[-1]:
            break
        before = values[-1]
        basis = np.linalg.qr(image)[0]
    return image @ vectors[:, -1]


def _fit(r: np.ndarray, v: np.ndarray) -> np.ndarray:
    square = v @ v
    return r @ v / square if square else np.zeros(len(r))
