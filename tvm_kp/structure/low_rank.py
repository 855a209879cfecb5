"""Low rank: W_g = U_g·V_g."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tvm_kp.kronecker import Shape
from tvm_kp.structure import rank
from tvm_kp.structure.base import ULP, Form, Structure, relative
from tvm_kp.structure.shapes import places

# Larger ranks are not looked for: decomposing what may have them takes too long.
MOST = 256


@dataclass(frozen=True)
class LowRank(Structure):
    """W_g = U_g·V_g for each row block g.

    ``factors`` is ((rows, rank), (rank, columns)); ``u`` (blocks, rows, rank) and ``v`` (blocks,
    rank, columns) are float32. V·x is computed first.
    """

    name: ClassVar[str] = "low rank"
    u: np.ndarray
    v: np.ndarray

    @property
    def rank(self) -> int:  # type: ignore[override]
        return self.u.shape[2]

    @property
    def macs(self) -> int:
        return self.u.size + self.v.size

    @property
    def nbytes(self) -> int:
        return self.u.nbytes + self.v.nbytes

    @property
    def shape(self) -> Shape:
        return self.blocks * self.u.shape[1], self.v.shape[2]

    @property
    def text(self) -> str:
        return super().text.replace("⊗", "·")


def find(gates: np.ndarray, tolerance: float = 0.0) -> LowRank | None:
    """The factors of the least rank that is exact, or within ``tolerance``, if they pay."""
    rows, cols = gates.shape[1:]
    # rank · (rows + columns) < rows · columns
    most = min((rows * cols - 1) // (rows + cols), MOST)
    if most < 1:
        return None
    if tolerance:
        return _nearest(gates, most, tolerance)
    if any(_sampled_rank(gate, most) > most for gate in gates):
        return None
    return _exact(gates, most)


def confirm(gates: np.ndarray, form: Form, tolerance: float = 0.0) -> LowRank | None:
    """The factors of exactly the rank that ``form`` has, or None."""
    wanted = form.factors[0][1]
    found = _nearest(gates, wanted, tolerance) if tolerance else _exact(gates, wanted)
    return found if found is not None and found.rank == wanted else None


def _sampled_rank(gate: np.ndarray, most: int) -> int:
    random = np.random.default_rng(0)
    rows = places(gate.shape[0], 2 * most, random)
    cols = places(gate.shape[1], most + 1, random)
    return int(rank.sampled_ranks(gate[rows[:, None], cols][None])[0])


def _exact(gates: np.ndarray, most: int) -> LowRank | None:
    pairs = []
    missed = norm = 0.0
    for gate in gates:
        r = gate.astype(np.float64)
        values = rank.leading(r, min(most + 1, *r.shape))[2]
        # Rounding leaves less than this of what is not there.
        least = max(1, int((values > ULP * values.sum()).sum()))
        pair = rank.exact(r, least, least) if least <= most else None
        if pair is None:
            return None
        missed += rank.missed(r, *pair)
        norm += float(np.square(r).sum())
        pairs.append(pair)
    return _made(pairs, relative(missed, norm))


def _nearest(gates: np.ndarray, most: int, tolerance: float) -> LowRank | None:
    """The least rank with which all gates together are within ``tolerance``."""
    wide = [gate.astype(np.float64) for gate in gates]
    decomposed = [rank.leading(r, min(most, *r.shape)) for r in wide]
    norm = sum(float(np.square(r).sum()) for r in wide)
    kept = sum(np.cumsum(np.square(values[:most])) for _, _, values in decomposed)
    enough = np.flatnonzero(norm - np.asarray(kept) <= tolerance**2 * norm)
    for least in enough[:2] + 1:  # rounding to float32 may need one more
        pairs = [
            (u[:, :least].astype(np.float32), v[:, :least].astype(np.float32))
            for u, v, _ in decomposed
        ]
        missed = sum(rank.missed(r, *pair) for r, pair in zip(wide, pairs, strict=True))
        if relative(missed, norm) <= tolerance:
            return _made(pairs, relative(missed, norm))
    return None


def _made(pairs: list[tuple[np.ndarray, np.ndarray]], error: float) -> LowRank:
    u, v = rank.stacked(pairs)
    v = np.ascontiguousarray(v.transpose(0, 2, 1))
    shapes = (u.shape[1], u.shape[2]), (v.shape[1], v.shape[2])
    return LowRank(len(pairs), error, shapes, "", u, v)
