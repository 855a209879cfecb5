"""Point-wise functions of floats on MVE: four elements at a time.

What is left of elements that are no multiple of four is a loop over single ones.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Call, Expr, TensorLoad
from tvm.s_tir import SBlock, Schedule
from tvm.tirx import FloatImm

from tvm_kp.kernel.elementwise import LANES, place, stores_elements
from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.tiling import merge_pointwise

ISA = {"fpu", "mve"}
KINDS = {"llvm"}  # the C has no vectors of floats
VERSION = 1

# Of comparisons with a NaN MVE makes others than C.
_ARITHMETIC = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div)
_FUNCTIONS = ("tirx.tanh", "tirx.sigmoid")  # that tvm_kp/c/llvm/float_helpers.py has vectors of


def apply(sch: Schedule, _choose: Choose) -> Schedule | None:
    blocks = [sch.get(block) for block in sch.get_child_blocks(sch.get_sblock("root"))]
    if not all(_is_known(block) for block in blocks):
        return None
    loop = merge_pointwise(sch)
    if loop is None:
        return None
    outer, inner = sch.split(loop, [None, LANES])
    sch.vectorize(inner)
    for part in (outer, inner):
        sch.annotate(part, "pragma_loop_partition_hint", 1)
    return sch


def _is_known(block: SBlock) -> bool:
    axes = stores_elements(block, ("float32",))
    return axes is not None and _is_vector(block.body.value, axes)


def _is_vector(expr: Expr, axes: dict[Expr, int]) -> bool:
    if str(expr.ty.dtype) != "float32":
        return False
    if isinstance(expr, TensorLoad):
        # Where all axes have size one the element is a number.
        return place(expr.source.shape, expr.indices) in ({}, axes)
    if isinstance(expr, _ARITHMETIC):
        return _is_vector(expr.a, axes) and _is_vector(expr.b, axes)
    if isinstance(expr, Call) and expr.op.name in _FUNCTIONS:
        return _is_vector(expr.args[0], axes)
    return isinstance(expr, FloatImm)
