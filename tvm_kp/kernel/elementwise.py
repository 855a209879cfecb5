"""Blocks that compute every element from those at the same place, as vectors can."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from tvm import tirx
from tvm.ir import Expr
from tvm.s_tir import SBlock

LANES = 4


def stores_elements(block: SBlock, dtypes: Collection[str]) -> dict[Expr, int] | None:
    """The `place` that ``block`` stores an element of one of ``dtypes`` at, its own; None if it
    does something else, or has too few elements for a vector."""
    store = block.body
    axes = place([v.dom.extent for v in block.iter_vars], [v.var for v in block.iter_vars])
    if not isinstance(store, tirx.BufferStore) or math.prod(axes.values()) < LANES:
        return None
    same = place(store.buffer.shape, store.indices) == axes
    return axes if same and str(store.buffer.dtype) in dtypes else None


def place(sizes: Iterable[Expr], indices: Iterable[Expr]) -> dict[Expr, int]:
    """The size of the axis of every index, in order, without axes of size one."""
    pairs = ((index, int(size)) for index, size in zip(indices, sizes, strict=True))
    return {index: size for index, size in pairs if size > 1}
