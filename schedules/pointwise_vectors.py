"""Point-wise functions of floats on MVE as vectors of LLVM, which knows its instructions itself."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Call, Expr, TensorLoad
from tvm.s_tir import Schedule
from tvm.tirx import FloatImm

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.vector_loops import Place, place, vector_loops

ISA = {"mve", "mve.fp"}
KINDS = {"llvm"}
VERSION = 1

# Of comparisons with a NaN MVE makes others than C.
_ARITHMETIC = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div)
_FUNCTIONS = ("tirx.tanh", "tirx.sigmoid")  # that tvm_kp/c/llvm/float_helpers.py has vectors of


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
    if isinstance(expr, Call) and expr.op.name in _FUNCTIONS:
        return _is_vector(expr.args[0], axes)
    return isinstance(expr, FloatImm)
