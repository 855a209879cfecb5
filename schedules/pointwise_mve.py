"""Point-wise functions of integers on MVE: four elements at a time, each as an int32.

What is left of elements that are no multiple of four is a loop over single ones.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Call, Expr, TensorLoad
from tvm.ir.prim.expr import BitwiseAnd, RShift
from tvm.s_tir import SBlock, Schedule
from tvm.tirx import IntImm

from tvm_kp.kernel.elementwise import LANES, place, stores_elements
from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.tiling import merge_pointwise

ISA = {"mve"}
KINDS = {"c"}
VERSION = 1
UNROLLS = (1, 2, 4)  # vectors

# What tvm_kp/c/vectors.py knows: arithmetic of int32, and what widens to it.
_ARITHMETIC = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Max, tirx.Min, BitwiseAnd)
_TYPES = ("int8", "int16", "int32")


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    if not all(_is_known(sch.get(block)) for block in blocks):
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


def _is_known(block: SBlock) -> bool:
    """Whether the block computes every element from those at the same place, as vectors can."""
    axes = stores_elements(block, _TYPES)
    return axes is not None and _is_vector(block.body.value, axes)


def _is_vector(expr: Expr, axes: dict[Expr, int]) -> bool:
    dtype = str(expr.ty.dtype)
    if isinstance(expr, TensorLoad):
        # Where all axes have size one the element is a number.
        return dtype in _TYPES and place(expr.source.shape, expr.indices) in ({}, axes)
    if isinstance(expr, tirx.Cast):
        return dtype in _TYPES and _is_vector(expr.value, axes)
    if isinstance(expr, RShift):
        return dtype == "int32" and isinstance(expr.b, IntImm) and _is_vector(expr.a, axes)
    if isinstance(expr, _ARITHMETIC):
        return dtype == "int32" and _is_vector(expr.a, axes) and _is_vector(expr.b, axes)
    if isinstance(expr, Call) and expr.op.name == "tirx.kp_interpolate":
        return _is_vector(expr.args[2], axes)
    if isinstance(expr, Call) and expr.op.name == "tirx.kp_multiply_high":
        return all(_is_vector(arg, axes) for arg in expr.args)
    return isinstance(expr, IntImm) and dtype in _TYPES
