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

VECTORIZABLE = ("tanh", "sigmoid")


def lower_arithmetic(function: tirx.PrimFunc, target: tvm.target.Target) -> tirx.PrimFunc:
    """``function`` without intrinsics of ours, and without those of TVM that are functions of C.

    ``target`` is one of kind ``llvm``.
    """
    wide = tvm.IRModule({"main": widen_scalars(function)})
    vectors = tirx.transform.VectorizeLoop()(wide)["main"]
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
    if name in MATH and dtype == "float32":
        return tirx.call_extern(dtype, MATH[name], *args)
    if name in VECTORIZABLE and dtype == "float32x4":
        return tirx.call_extern(dtype, f"{MATH[name]}_x4", *args)
    return call


def _larger(expr: tirx.Max) -> Expr:
    """As C has it: a NaN in ``a`` goes through."""
    return tirx.Select(expr.a < expr.b, expr.b, expr.a) if _is_float(expr) else expr


def _smaller(expr: tirx.Min) -> Expr:
    return tirx.Select(expr.a > expr.b, expr.b, expr.a) if _is_float(expr) else expr


def _is_float(expr: Expr) -> bool:
    return str(expr.ty.dtype).startswith("float")
