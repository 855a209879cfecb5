"""Point-wise functions as loops over vectors, on a core with MVE: four elements at a time.

What is left of elements that are no multiple of four is a loop of its own over fewer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from tvm import tirx
from tvm.ir import Call, Expr, TensorLoad
from tvm.s_tir import SBlock, Schedule
from tvm.tirx import FloatImm

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.tiling import merge_pointwise

LANES = 4
UNROLLS = (1, 2, 4)  # vectors

Place = tuple[tuple[Expr, int], ...]
IsKnown = Callable[[tirx.BufferStore, Place], bool]
_FUNCTIONS = ("tirx.tanh", "tirx.sigmoid")  # that C and objects have vectors of


def vector_loops(sch: Schedule, choose: Choose, is_known: IsKnown) -> Schedule | None:
    """All blocks in one loop over vectors; None if there cannot be one.

    ``is_known`` says whether a block's store can be one of a vector, given its axes.
    """
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    if not all(_is_vector(sch.get(block), is_known) for block in blocks):
        return None
    for block in blocks:
        consumers = sch.get_consumers(block)
        written = sch.get(block).body.buffer
        if consumers and any(written.same_as(param) for param in sch.mod["main"].params):
            # They read the vector, not what was stored of it.
            sch.cache_write(block, 0, "local", consumers)
    loop = merge_pointwise(sch)
    if loop is None:
        return None
    vectors = int(sch.get(loop).extent) // LANES
    unroll = choose("unroll", tuple(n for n in UNROLLS if n <= vectors), 1)
    outer, group, inner = sch.split(loop, [None, unroll, LANES])
    sch.unroll(group)
    sch.vectorize(inner)
    for part in (outer, inner):
        sch.annotate(part, "pragma_loop_partition_hint", 1)
    return sch


def _is_vector(block: SBlock, is_known: IsKnown) -> bool:
    """Whether the block computes every element from those at the same place, as vectors can."""
    store = block.body
    axes = place([v.dom.extent for v in block.iter_vars], [v.var for v in block.iter_vars])
    if not isinstance(store, tirx.BufferStore) or math.prod(size for _, size in axes) < LANES:
        return False
    return place(store.buffer.shape, store.indices) == axes and is_known(store, axes)


def of_floats(arithmetic: tuple[Any, ...]) -> IsKnown:
    """Whether a store is of floats, made by ``arithmetic``, tanh and sigmoid alone."""

    def is_vector(expr: Expr, axes: Place) -> bool:
        if str(expr.ty.dtype) != "float32":
            return False
        if isinstance(expr, TensorLoad):
            # Where all axes have size one the element is a number.
            return place(expr.source.shape, expr.indices) in ((), axes)
        if isinstance(expr, arithmetic):
            return is_vector(expr.a, axes) and is_vector(expr.b, axes)
        if isinstance(expr, Call):
            return expr.op.name in _FUNCTIONS and is_vector(expr.args[0], axes)
        return isinstance(expr, FloatImm)

    return lambda store, axes: str(store.buffer.dtype) == "float32" and is_vector(store.value, axes)


def place(sizes: Iterable[Expr], indices: Iterable[Expr]) -> Place:
    """Every index and the size of its axis, in order, without axes of size one."""
    pairs = ((index, int(size)) for index, size in zip(indices, sizes, strict=True))
    return tuple((index, size) for index, size in pairs if size > 1)
