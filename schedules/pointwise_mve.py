"""Point-wise functions of integers on MVE: four elements at a time, each as an int32.

What is left of elements that are no multiple of four is computed one by one.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Call, Expr, TensorLoad
from tvm.ir.prim.expr import BitwiseAnd, RShift
from tvm.s_tir import Schedule
from tvm.tirx import IntImm

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.vector_loops import Place, place, vector_loops

ISA = {"mve"}
KINDS = {"c"}
VERSION = 1

# What tvm_kp/c/vectors.py knows: arithmetic of int32, and what widens to it.
_ARITHMETIC = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Max, tirx.Min, BitwiseAnd)
_TYPES = ("int8", "int16", "int32")


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    return vector_loops(sch, choose, _is_known)


def _is_known(store: tirx.BufferStore, axes: Place) -> bool:
    return str(store.buffer.dtype) in _TYPES and _is_vector(store.value, axes)


def _is_vector(expr: Expr, axes: Place) -> bool:
    dtype = str(expr.ty.dtype)
    if isinstance(expr, TensorLoad):
        # Where all axes have size one the element is a number.
        return dtype in _TYPES and place(expr.source.shape, expr.indices) in ((), axes)
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
