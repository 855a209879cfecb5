"""The operations that the C printer has forms for, as operations and calls that LLVM has.

Integers are computed bit for bit as in C; so are floats, up to what an FPU rounds once.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr

from tvm_kp.c.expressions import MATH
from tvm_kp.c.llvm.vectors import widen_scalars
from tvm_kp.errors import ModelError

_VECTORS = ("float32x4",)  # of which there are tanh and sigmoid
_FLOATS = ("float32", *_VECTORS)


def lower_arithmetic(function: tirx.PrimFunc, target: tvm.target.Target) -> tirx.PrimFunc:
    """``function`` without intrinsics of ours, and without those of TVM that are functions of C.

    ``target`` is one of kind ``llvm``. Raises ModelError for a function of doubles.
    """
    wide = tvm.IRModule({"main": widen_scalars(function)})
    vectors = tirx.transform.VectorizeLoop()(wide)["main"]
    _check(vectors)
    rules = (Call, _call), (tirx.Max, _larger), (tirx.Min, _smaller)
    lowered = vectors.with_body(tvm_ffi.structural_map(vectors.body, rules))
    module = tvm.IRModule({"main": lowered.with_attr("target", target)})
    return tirx.transform.LowerIntrin()(module)["main"]


def _call(call: Call) -> Expr:
    name, args = call.op.name.removeprefix("tirx."), list(call.args)
    dtype = str(call.ty.dtype) if hasattr(call.ty, "dtype") else ""
    if name == "likely":
        return args[0]
    if name == "kp_multiply_high":
        return tirx.call_extern(dtype, name, *args)
    if name == "kp_interpolate":
        # The helper finds both entries by itself.
        return tirx.call_extern(dtype, name, tirx.address_of(args[0]), *args[2:])
    if name == "rsqrt":
        return tirx.const(1.0, dtype) / tirx.call_extern(dtype, MATH["sqrt"], *args)
    if name in MATH:
        form = MATH[name] + ("_x4" if dtype in _VECTORS else "")
        return tirx.call_extern(dtype, form, *args)
    return call


def _check(function: tirx.PrimFunc) -> None:
    refused: list[str] = []

    def note(call: Call) -> None:
        name = call.op.name.removeprefix("tirx.")
        if name in MATH and str(call.ty.dtype) not in _FLOATS:
            refused.append(f"{name} of {call.ty.dtype}")

    tvm_ffi.structural_walk(function.body, (Call, note))
    if refused:
        raise ModelError(f"there is no {refused[0]} for objects: use model.float()")


def _larger(expr: tirx.Max) -> Expr:
    """As C has it: a NaN in ``a`` goes through."""
    return tirx.Select(expr.a < expr.b, expr.b, expr.a) if _is_float(expr) else expr


def _smaller(expr: tirx.Min) -> Expr:
    return tirx.Select(expr.a > expr.b, expr.b, expr.a) if _is_float(expr) else expr


def _is_float(expr: Expr) -> bool:
    return str(expr.ty.dtype).startswith("float")
