"""Point-wise functions of floats on MVE: four elements at a time, what is left of them too.

Arithmetic, tanh and sigmoid, in which recurrent cells spend their time; those in C have the same
formula, and are off as much. Left to other rules: everything else.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Call, Expr, TensorLoad
from tvm.s_tir import Schedule
from tvm.tirx import FloatImm

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.vector_loops import Place, place, vector_loops

ISA = {"mve", "mve.fp"}
KINDS = {"c"}
VERSION = 1

# What tvm_kp/c/vectors.py knows.
_ARITHMETIC = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Max, tirx.Min)
_FUNCTIONS = ("tirx.tanh", "tirx.sigmoid")


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    return vector_loops(sch, choose, _is_known)


def _is_known(store: tirx.BufferStore, axes: Place) -> bool:
    return str(store.buffer.dtype) == "float32" and _is_vector(store.value, axes)


def _is_vector(expr: Expr, axes: Place) -> bool:
    if str(expr.ty.dtype) != "float32":
        return False
    if isinstance(expr, TensorLoad):
        # Where all axes have size one the element is a number.
        return place(expr.source.shape, expr.indices) in ((), axes)
    if isinstance(expr, _ARITHMETIC):
        return _is_vector(expr.a, axes) and _is_vector(expr.b, axes)
    if isinstance(expr, Call):
        return expr.op.name in _FUNCTIONS and _is_vector(expr.args[0], axes)
    return isinstance(expr, FloatImm)
