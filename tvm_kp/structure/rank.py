"""Matrices R = U·Vᵀ of few columns in U and V: the rank, the factors, and whether they are exact.

A sum of t Kronecker products is a matrix that, rearranged (Van Loan and Pitsianis), has rank t.
"""

from __future__ import annotations

import numpy as np

from tvm_kp.structure.base import DAMAGE, TINY, ULP

# The largest difference between an entry of R and of U·Vᵀ in ulps of ‖u_i‖·‖v_j‖, the rows of U
# and V that make the entry (U and V scaled alike, as in a singular value decomposition). It
# bounds Σ|u_ik·v_jk|, the magnitude that float32 rounds where such a sum is computed, whatever
# the order; an entry in which the terms cancel is no more exact than they are. W's own sum
# and the rounding of U and V to float32 make 2.5 ulps for two terms and grow with the root of
# their number, as the bound itself does; the rest is for factors of W that are nearly parallel.
SUM_EXACT = 4.0
# Huge entries make that bound lax for others in their rows and columns. So of all entries only
# this share may differ by more than 2⁻¹³ of themselves (or of the median entry).
_CANCELED = 0.01
_CLOSE = 2.0**-13
_DIRECTIONS = 8
_STEPS = 100
_DIRECT = 600  # smaller sides are decomposed at once
_CHUNK = 1 << 18


def sampled_ranks(parts: np.ndarray) -> np.ndarray:
    """The numerical ranks of sampled matrices (count, m, n), whatever their rows' scales.

    Lower bounds of the ranks of what they are parts of, within the rounding of float32.
    """
    parts = parts.astype(np.float64)
    for _ in range(2):
        for axis in (1, 2):
            largest = np.abs(parts).max(axis=axis, keepdims=True)
            parts = parts / np.where(largest > 0, largest, 1)
    values = np.linalg.svd(parts, compute_uv=False)
    return np.asarray((values > 1e-5 * values[:, :1]).sum(axis=1))


def leading(r: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U (rows, rank), V (columns, rank) with U·Vᵀ nearest to ``r``, and the singular values.

    Columns of U and of V are orthogonal and of equal norms, largest first, every entry as exact
    as its own row and column of ``r`` are. Of large matrices only the first singular values.
    """
    right, values = _right(r, rank)
    u = r @ right
    v = _fit(r.T, u)
    u = _fit(r, v)
    q_u, r_u = np.linalg.qr(u)
    q_v, r_v = np.linalg.qr(v)
    left, middle, across = np.linalg.svd(r_u @ r_v.T)
    root = np.sqrt(middle)
    u, v = q_u @ (left * root), q_v @ (across.T * root)
    # Else nothing but rounding, of which no bound that is relative to it holds.
    u[~r.any(axis=1)] = 0
    v[~r.any(axis=0)] = 0
    return u, v, values


def exact(r: np.ndarray, least: int, most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """U and V in float32 of the smallest rank in [least, most] that is exact, None for none.

    See ``SUM_EXACT``. Without a rank of which the last term is more than damage there is none.
    """
    for rank in range(least, min(most, *r.shape) + 1):
        u, v, _ = leading(r, rank)
        if rank > 1 and is_damage(r, u, v):
            return None
        u, v = u.astype(np.float32), v.astype(np.float32)
        if holds(r, u, v):
            return u, v
    return None


def is_damage(r: np.ndarray, u: np.ndarray, v: np.ndarray) -> bool:
    """Whether the last term may be the rest of few slightly changed entries."""
    last = float(np.linalg.norm(u[:, -1]) * np.linalg.norm(v[:, -1]))
    return last <= DAMAGE * max(float(r.max()), -float(r.min()))


def holds(r: np.ndarray, u: np.ndarray, v: np.ndarray) -> bool:
    """Whether U·Vᵀ is ``r`` within ``SUM_EXACT``."""
    wide_u, wide_v = u.astype(np.float64), v.astype(np.float64)
    norm_u, norm_v = (np.linalg.norm(side, axis=1) for side in (wide_u, wide_v))
    some = np.abs(r.ravel()[:: max(1, r.size >> 16)])
    typical = float(np.median(some[some > 0])) if some.any() else 0.0
    far = 0
    step = max(1, _CHUNK // r.shape[1])
    for first in range(0, len(r), step):
        rows = slice(first, first + step)
        difference = np.abs(r[rows] - wide_u[rows] @ wide_v.T)
        bound = SUM_EXACT * ULP * np.outer(norm_u[rows], norm_v) + TINY
        if not (difference <= bound).all():
            return False
        far += int((difference > _CLOSE * np.maximum(np.abs(r[rows]), typical)).sum())
    return far <= _CANCELED * r.size


def missed(r: np.ndarray, u: np.ndarray, v: np.ndarray) -> float:
    """‖R − U·Vᵀ‖² in Frobenius's norm."""
    wide_u, wide_v = u.astype(np.float64), v.astype(np.float64)
    step = max(1, _CHUNK // r.shape[1])
    return sum(
        float(np.square(r[k : k + step] - wide_u[k : k + step] @ wide_v.T).sum())
        for k in range(0, len(r), step)
    )


def stacked(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """All U and all V, (count, rows, rank), the ranks made equal with zeros."""
    rank = max(u.shape[1] for u, _ in pairs)
    widened = [[np.pad(x, ((0, 0), (0, rank - x.shape[1]))) for x in pair] for pair in pairs]
    return np.stack([u for u, _ in widened]), np.stack([v for _, v in widened])


def _right(r: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The leading right singular vectors, (columns, rank), and singular values."""
    if min(r.shape) <= _DIRECT:
        _, values, vectors = np.linalg.svd(r, full_matrices=False)
        return vectors[:rank].T, values
    width = min(rank + _DIRECTIONS, *r.shape)
    basis = np.linalg.qr(r.T @ np.random.default_rng(0).standard_normal((len(r), width)))[0]
    before = np.zeros(rank)
    for _ in range(_STEPS):
        _, values, vectors = np.linalg.svd(np.linalg.qr(r @ basis)[1])
        if np.abs(values[:rank] - before).max() <= 1e-12 * values[0]:
            break
        before = values[:rank]
        basis = np.linalg.qr(r.T @ (r @ basis))[0]
    return basis @ np.linalg.svd(np.linalg.qr(r @ basis)[1])[2][:rank].T, values


def _fit(r: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The U that minimizes ‖R − U·Vᵀ‖, row by row."""
    return np.linalg.lstsq(v, r.T, rcond=1e-13)[0].T
