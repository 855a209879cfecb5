"""Search for structure in the numbers of a weight matrix.

W is cut in equal row blocks (the gates of an RNN), which all have the structure with the same
shapes. Every kind has a file: what it is, what it costs, how it is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from tvm_kp.structure import doped, hybrid, low_rank, product, sums, three_factors
from tvm_kp.structure.base import EXACT, Form, Structure, cut
from tvm_kp.structure.doped import Doped
from tvm_kp.structure.hybrid import Hybrid
from tvm_kp.structure.low_rank import LowRank
from tvm_kp.structure.product import Product, search
from tvm_kp.structure.sums import KroneckerSum
from tvm_kp.structure.three_factors import ThreeFactors

__all__ = [
    "EXACT",
    "Doped",
    "Hybrid",
    "KroneckerSum",
    "LowRank",
    "Product",
    "Structure",
    "ThreeFactors",
    "cheapest",
    "confirm",
    "find",
    "search",
]


class _Kind(NamedTuple):
    find: Callable[[np.ndarray, float], Structure | None]
    confirm: Callable[[np.ndarray, Form, float], Structure | None]


# The simplest first: of equal cost it is taken.
KINDS = {
    Product.name: _Kind(product.find, product.confirm),
    ThreeFactors.name: _Kind(three_factors.find, three_factors.confirm),
    KroneckerSum.name: _Kind(sums.find, sums.confirm),
    LowRank.name: _Kind(low_rank.find, low_rank.confirm),
    Hybrid.name: _Kind(hybrid.find, hybrid.confirm),
    Doped.name: _Kind(doped.find, doped.confirm),
}


def find(w: np.ndarray, blocks: int = 1, tolerance: float = 0.0) -> Structure | None:
    """The cheapest structure of ``w`` (rows, cols) that needs fewer MACs and bytes than ``w``.

    Cheapest by MACs, then by bytes, then the simplest. With ``tolerance`` 0 only exact ones: see
    ``EXACT`` and ``rank.SUM_EXACT``; otherwise also those with a relative Frobenius error up to
    it. None means that there is no structure or that none pays. Raises ``ValueError`` for
    anything but a finite real matrix whose rows divide into ``blocks``.
    """
    gates = cut(w, blocks)
    one = product.find(gates, tolerance)
    # Dense rows above a product, or entries added to it, only make what is one dearer.
    dearer = (Product.name, *((Hybrid.name, Doped.name) if one is not None else ()))
    others = (kind.find(gates, tolerance) for name, kind in KINDS.items() if name not in dearer)
    best = cheapest([one, *others])
    if best is None or tolerance or isinstance(best, Product | ThreeFactors):
        return best
    # A changed product may be exact in a form that costs more, or but for its rounding.
    return None if product.is_nearly(gates) else best


def cheapest(found: Iterable[Structure | None]) -> Structure | None:
    """The one with the fewest MACs, then bytes, then the simplest; None where there is none."""
    simplicity = list(KINDS)
    return min(
        (one for one in found if one is not None),
        key=lambda one: (one.cost, simplicity.index(one.name)),
        default=None,
    )


def confirm(
    w: np.ndarray, name: str, blocks: int, form: Form, tolerance: float = 0.0
) -> Structure | None:
    """The structure ``name`` of ``w`` with the shapes of ``form``, or None; see ``find``."""
    return KINDS[name].confirm(cut(w, blocks), form, tolerance)
