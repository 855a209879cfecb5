"""What a weight is written as: how its numbers are made, how many they are, what they cost.

A weight is a matrix of equal row blocks, the gates of a recurrent layer, which all have the form
with the same shapes. "rows" are those of one gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import prod

from tvm_kp import kronecker
from tvm_kp.errors import ModelError
from tvm_kp.kronecker import Shape

# What ``tvm_kp.structure`` finds again.
MOST_TERMS = 3
MOST_ENTRIES = 0.02


@dataclass(frozen=True)
class Kronecker:
    """[D; Σ A ⊗ B] and single entries added to it, or with three factors A ⊗ B ⊗ C.

    ``factors`` are the shapes (m, n) of two or three factors, ``terms`` how many products are
    added up. ``dense_rows`` are the rows of D (hybrid). ``density`` is the share of entries with
    a number added (doped; Thakker et al. 2021, arXiv 2102.07071).
    """

    factors: tuple[Shape, ...]
    terms: int = 1
    dense_rows: int = 0
    density: float = 0.0

    def check(self, rows: int, cols: int, weight: str = "the weight") -> None:
        """Raises ``ModelError`` unless the form makes ``rows`` × ``cols``."""
        if len(self.factors) not in (2, 3) or min(min(shape) for shape in self.factors) < 1:
            raise ModelError(
                f"{self}: give two or three factors, each (rows, columns) of at least 1"
            )
        if not 1 <= self.terms <= MOST_TERMS or not 0 <= self.dense_rows < rows:
            raise ModelError(
                f"{self}: terms are from 1 to {MOST_TERMS}, and dense rows fewer than the {rows} "
                "of each gate"
            )
        entries = round(self.density * rows * cols)
        if self.density and not 1 <= entries <= MOST_ENTRIES * rows * cols:
            raise ModelError(
                f"{self}: these are {entries} of {rows}x{cols}; give a density for at least one, "
                f"and for no more than {MOST_ENTRIES:.0%}"
            )
        if sum((self.terms > 1, self.dense_rows > 0, self.density > 0, len(self.factors) > 2)) > 1:
            raise ModelError(
                f"{self}: terms, dense rows, entries and a third factor are found one at a time "
                "when a model is compiled; give one of them"
            )
        made = tuple(prod(side) for side in zip(*self.factors, strict=True))
        below = rows - self.dense_rows
        if made != (below, cols):
            (m1, n1), (m2, n2) = kronecker.factor_shapes(below, cols)
            raise ModelError(
                f"factors {self.shapes} make {made[0]}x{made[1]}, but each gate of {weight} is "
                f"{below}x{cols}{' below the dense rows' if self.dense_rows else ''}; give for "
                f"example {m1}x{n1} and {m2}x{n2}"
            )

    @property
    def shapes(self) -> str:
        """The shapes of the factors as text: "2x16 and 59x8"."""
        return " and ".join(f"{m}x{n}" for m, n in self.factors)

    def parameters(self, rows: int, cols: int) -> int:
        """Numbers of one gate."""
        entries = round(self.density * rows * cols)
        return self.terms * sum(map(prod, self.factors)) + self.dense_rows * cols + entries

    def macs(self, rows: int, cols: int) -> int:
        """Multiply-accumulates of one gate's product with a vector, in the cheaper order."""
        apart = self.dense_rows * cols + round(self.density * rows * cols)
        return self.terms * _macs(self.factors) + apart

    def max_rank(self, rows: int, cols: int) -> int:
        """A bound of one gate's rank: rank(A ⊗ B) = rank A · rank B, and sums add up.

        Weights drawn at random reach it, but for some sums, which stay a few percent below.
        """
        below = min(self.terms * prod(map(min, self.factors)), rows - self.dense_rows)
        return min(self.dense_rows + below + round(self.density * rows * cols), rows, cols)

    def __str__(self) -> str:
        text = "⊗".join(f"({m}×{n})" for m, n in self.factors)
        text = f"{self.terms} × {text}" if self.terms > 1 else text
        if self.dense_rows:
            rows = "row" if self.dense_rows == 1 else "rows"
            text = f"[{self.dense_rows} dense {rows}; {text}]"
        return f"{text} + {self.density:.1%} entries" if self.density else text


@dataclass(frozen=True)
class LowRank:
    """U·V, of ``rank`` columns and ``rank`` rows."""

    rank: int

    def check(self, rows: int, cols: int, weight: str = "the weight") -> None:
        """Raises ``ModelError`` for a rank that is none of ``rows`` × ``cols``."""
        if not 1 <= self.rank <= min(rows, cols):
            raise ModelError(
                f"rank {self.rank}; each gate of {weight} is {rows}x{cols}: give 1 to "
                f"{min(rows, cols)}"
            )

    def parameters(self, rows: int, cols: int) -> int:
        """Numbers of one gate."""
        return self.rank * (rows + cols)

    def macs(self, rows: int, cols: int) -> int:
        """Multiply-accumulates of one gate's product with a vector."""
        return self.rank * (rows + cols)

    def max_rank(self, _rows: int, _cols: int) -> int:
        """The largest rank that one gate can have."""
        return self.rank

    def __str__(self) -> str:
        return f"rank {self.rank}"


@dataclass(frozen=True)
class Pruned:
    """Zero but for the share ``density`` of entries, the largest in magnitude.

    They are chosen while training, more and more (Zhu and Gupta 2017, arXiv 1710.01878).
    """

    density: float

    def check(self, rows: int, cols: int, weight: str = "the weight") -> None:
        """Raises ``ModelError`` for a density that keeps nothing or everything."""
        if not 1 <= self.parameters(rows, cols) < rows * cols:
            raise ModelError(
                f"density {self.density} of {weight}, {rows}x{cols} a gate; give a share between "
                "0 and 1 that keeps at least one entry"
            )

    def parameters(self, rows: int, cols: int) -> int:
        """Numbers of one gate that are not zero."""
        return round(self.density * rows * cols)

    def macs(self, rows: int, cols: int) -> int:
        """Multiply-accumulates of one gate: zeros are multiplied too."""
        return rows * cols

    def max_rank(self, rows: int, cols: int) -> int:
        """The largest rank that one gate can have."""
        return min(rows, cols, self.parameters(rows, cols))

    def __str__(self) -> str:
        return f"{self.density:.1%} of the entries"


Form = Kronecker | LowRank | Pruned


def _macs(factors: tuple[Shape, ...]) -> int:
    """Of the product of all factors with a vector, one after the other, in the best order."""
    return min(_macs_in(order, factors) for order in permutations(range(len(factors))))


def _macs_in(order: tuple[int, ...], factors: tuple[Shape, ...]) -> int:
    sides, macs = [n for _, n in factors], 0
    for index in order:
        macs += factors[index][0] * prod(sides)
        sides[index] = factors[index][0]
    return macs
