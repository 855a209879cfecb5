"""``fixedpoint`` as expressions of TIR, and how operators made of them become loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tvm
from tvm import relax, te, tirx
from tvm.ir import GenericConst

from tvm_kp import fixedpoint

Legalize = Callable[[relax.BlockBuilder, relax.Call], relax.Expr]

# Intrinsics of TIR, because they are one instruction or few, and no pass should take them apart.
_MULTIPLY_HIGH = "tirx.kp_multiply_high"
_INTERPOLATE = "tirx.kp_interpolate"


def multiply_high(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
    """``fixedpoint.multiply_high`` of int32."""
    return tirx.call_intrin("int32", _MULTIPLY_HIGH, a, b)


def interpolated(
    table: te.Tensor, x: tirx.Expr, between: int, offset: int, shift: int
) -> tirx.Expr:
    """A function of int16 from ``fixedpoint.tanh_table``, as int32; ``x`` is int32.

    ``fixedpoint.Interpolation`` says what the numbers are. The call has the two entries as its
    first arguments: passes see what is read.
    """
    first = (x >> between) + fixedpoint.TABLE_INTERVALS // 2
    numbers = (tirx.const(number, "int32") for number in (between, offset, shift))
    return tirx.call_intrin("int32", _INTERPOLATE, table(first), table(first + 1), x, *numbers)


def saturated(x: tirx.Expr, bits: int) -> tirx.Expr:
    """``fixedpoint.saturate`` of int32."""
    low, high = (tirx.const(end, "int32") for end in fixedpoint.limits(bits))
    return tirx.max(tirx.min(x, high), low)


def requantized(x: tirx.Expr, factor: tirx.Expr, left: int, dtype: str) -> tirx.Expr:
    """``fixedpoint.requantize`` of int32; to int32 without saturating the result."""
    if left:  # a product, because shifting a negative number to the left is undefined in C
        x = saturated(x, 32 - left) * tirx.const(1 << left, "int32")
    scaled = multiply_high(x, factor)
    return scaled if dtype == "int32" else saturated(scaled, bits_of(dtype)).astype(dtype)


def broadcast(x: te.Tensor | tirx.Expr, index: Sequence[tirx.Expr]) -> tirx.Expr:
    """The element of ``x`` for ``index`` of a tensor that ``x`` broadcasts to."""
    if not isinstance(x, te.Tensor):
        return x
    axes = index[len(index) - len(x.shape) :]
    return x(*(0 if size == 1 else i for i, size in zip(axes, x.shape, strict=True)))


def bits_of(dtype: str) -> int:
    return int(dtype.removeprefix("int"))


def immediate(arg: relax.Expr) -> relax.Expr | tirx.Expr:
    """A constant without axes as a number in the code."""
    if isinstance(arg, GenericConst) and not len(arg.ty.shape):
        return tirx.const(arg.value.numpy().item(), str(arg.ty.dtype.dtype))
    return arg


def _multiply_high_in_64_bits(call: tirx.Expr) -> tirx.Expr:
    a, b = (arg.astype("int64") for arg in call.args)
    return ((a * b + tirx.const(1 << 31, "int64")) >> tirx.const(32, "int64")).astype("int32")


def _interpolate_by_products(call: tirx.Expr) -> tirx.Expr:
    first, second, x, between, offset, shift = call.args
    left, right = first.astype("int32"), second.astype("int32")
    width = 1 << int(between)
    rest = x & (width - 1)
    return (left * (width - rest) + right * rest + offset) >> shift


for _name, _lowering in (
    (_MULTIPLY_HIGH, _multiply_high_in_64_bits),
    (_INTERPOLATE, _interpolate_by_products),
):
    tvm.ir.register_op_attr(_name, "TCallEffectKind", tirx.expr.CallEffectKind.Pure.value)
    tvm.ir.register_op_attr(_name, "TScriptPrinterName", _name.removeprefix("tirx."))
    tirx.register_intrin_lowering(_name, target="default", f=_lowering)
