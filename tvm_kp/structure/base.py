"""What all structures have in common: the gates they are of, the bounds they hold, their cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from tvm_kp.kronecker import Shape

# The largest difference between an entry of W and of the float32 product of its factors, in ulps
# (2⁻²³) of that entry. An exact product makes W's own rounding (half an ulp), the fit of A and B
# to rounded entries (half each), their rounding to float32 (half each) and that of the product
# (half) at most 3; one more is left for a W scaled once. Being relative to each entry it implies
# a Frobenius error below 4.8e-7, and a few huge entries cannot hide that the others do not fit.
EXACT = 4.0
ULP = 2.0**-23
# Below the smallest normal number ulps do not shrink any more: two roundings of half of 2⁻¹⁴⁹.
TINY = 2.0**-149
# What entries changed by up to 2⁻⁹ of the largest could have made is damage (or noise), of which
# no structure is made up: a last term of a sum that is no larger, or all that a product lacks.
DAMAGE = 2.0**-9


class Form(Protocol):
    """The description by which a structure is found again: a ``Decision``, or a ``Structure``."""

    @property
    def factors(self) -> tuple[Shape, ...]: ...
    @property
    def order(self) -> str: ...
    @property
    def terms(self) -> int: ...
    @property
    def split_row(self) -> int: ...


@dataclass(frozen=True)
class Structure(ABC):
    """A structure of W, whose ``blocks`` equal row blocks (the gates of an RNN) all have it.

    ``error`` is the relative Frobenius error against W; ``factors`` are the shapes of the factors
    of one block; ``macs`` and ``nbytes`` are exact counts of all blocks together.
    """

    name: ClassVar[str]
    terms: ClassVar[int] = 1
    rank: ClassVar[int] = 0
    split_row: ClassVar[int] = 0
    nonzeros: ClassVar[int] = 0
    blocks: int
    error: float
    factors: tuple[Shape, ...]
    order: str

    @property
    @abstractmethod
    def macs(self) -> int:
        """Multiply-accumulates of one product with a vector."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of what is stored."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Rows x columns of W."""

    @property
    def pays(self) -> bool:
        """Fewer MACs and fewer bytes than the dense matrix."""
        dense = self.shape[0] * self.shape[1]
        return self.macs < dense and self.nbytes < 4 * dense

    @property
    def cost(self) -> tuple[int, int]:
        """What is compared: MACs, then bytes."""
        return self.macs, self.nbytes

    @property
    def text(self) -> str:
        """``4 x (2x16) ⊗ (59x8)``."""
        shapes = " ⊗ ".join(f"({rows}x{columns})" for rows, columns in self.factors)
        return f"{self.blocks} x {shapes}" if self.blocks > 1 else shapes


def cut(w: np.ndarray, blocks: int) -> np.ndarray:
    """The row blocks of W, (blocks, rows, columns) in float32; see ``structure.find``."""
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


def within(difference: np.ndarray, exact: np.ndarray, ulps: float = EXACT) -> bool:
    """Whether every difference is at most ``ulps`` of its entry."""
    return bool((difference <= ulps * ULP * np.abs(exact) + TINY).all())


def relative(missed: float, norm: float) -> float:
    """The relative Frobenius error of two sums of squares; 0 for a zero matrix."""
    return float(np.sqrt(missed / norm)) if norm else 0.0
