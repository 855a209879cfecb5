"""Integers that stand for reals, and arithmetic with them in Relax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log2

import numpy as np
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp import fixedpoint
from tvm_kp.fixedpoint import Multiplier
from tvm_kp.graph import integer_operators as ops
from tvm_kp.graph.quantization.formats import LEAST_FRACTION, Format

_LARGEST = 2**31 - 1
_HALF = 16  # bits of both operands of a product of 32


@dataclass(frozen=True)
class Quantized:
    """A tensor of integers that stand for themselves times ``scale``; none exceeds ``bound``."""

    expr: relax.Expr
    scale: float
    bound: int

    @property
    def dtype(self) -> str:
        return str(self.expr.ty.dtype.dtype)

    @property
    def fraction(self) -> int:
        """Fraction bits; the scale must be a power of two."""
        fraction = -log2(self.scale)
        assert fraction.is_integer(), f"{self.scale} is no power of two"
        return int(fraction)


class Arithmetic:
    """Emits operators into a function; scales of point-wise operands are powers of two.

    Results are int32 as exact as they can be without overflow: what does not fit is rounded.
    """

    def __init__(self, builder: relax.BlockBuilder) -> None:
        self.emit = builder.emit

    def wide(self, x: Quantized) -> Quantized:
        """As int32."""
        if x.dtype == "int32":
            return x
        return replace(x, expr=self.emit(relax.op.astype(x.expr, "int32")))

    def constant(self, values: np.ndarray) -> Quantized:
        """A constant, int32, with at most 15 bits that count and no more than it needs."""
        values = np.asarray(values, np.float64)
        largest = float(np.abs(values).max(initial=0.0)) or 1.0
        fraction = int(np.floor(log2(32767 / largest)))
        integers = np.floor(values * 2.0**fraction + 0.5).astype(np.int32)
        zeros = 0
        while not np.any(integers & ((2 << zeros) - 1)) and zeros < 15:
            zeros += 1
        integers >>= zeros
        scale = 2.0 ** (zeros - fraction)
        return Quantized(relax.const(integers, "int32"), scale, _bound(integers))

    def multiply(self, a: Quantized, b: Quantized) -> Quantized:
        a, b = (a, b) if a.bound >= b.bound else (b, a)
        # The wider one loses bits first, but keeps as many as the other could.
        a = self._coarser(a, min(_excess(a, b), a.bound.bit_length() - _HALF))
        b = self._coarser(b, _excess(a, b))
        product = self.emit(relax.op.multiply(self.wide(a).expr, self.wide(b).expr))
        return Quantized(product, a.scale * b.scale, a.bound * b.bound)

    def add(self, a: Quantized, b: Quantized) -> Quantized:
        a, b = self._aligned(a, b)
        return Quantized(self.emit(relax.op.add(a.expr, b.expr)), a.scale, a.bound + b.bound)

    def subtract(self, a: Quantized, b: Quantized) -> Quantized:
        a, b = self._aligned(a, b)
        return Quantized(self.emit(relax.op.subtract(a.expr, b.expr)), a.scale, a.bound + b.bound)

    def negative(self, a: Quantized) -> Quantized:
        a = self.wide(a)
        return replace(a, expr=self.emit(relax.op.multiply(a.expr, relax.const(-1, "int32"))))

    def maximum(self, a: Quantized, b: Quantized) -> Quantized:
        a, b = self._aligned(a, b)
        bound = max(a.bound, b.bound)
        return Quantized(self.emit(relax.op.maximum(a.expr, b.expr)), a.scale, bound)

    def minimum(self, a: Quantized, b: Quantized) -> Quantized:
        a, b = self._aligned(a, b)
        bound = max(a.bound, b.bound)
        return Quantized(self.emit(relax.op.minimum(a.expr, b.expr)), a.scale, bound)

    def sigmoid(self, x: Quantized) -> Quantized:
        return self._activation(x, ops.sigmoid, 16)

    def tanh(self, x: Quantized) -> Quantized:
        return self._activation(x, ops.tanh, 8)

    def softmax(self, x: Quantized) -> Quantized:
        """Along the last axis; int16, 15 fraction bits."""
        narrow = x.expr if x.dtype == "int16" else self.emit(relax.op.astype(x.expr, "int16"))
        return Quantized(self.emit(ops.softmax(narrow, x.scale)), 2.0**-15, 1 << 15)

    def _activation(
        self, x: Quantized, function: Callable[[relax.Expr, int], relax.Expr], covered: int
    ) -> Quantized:
        """From the table, which covers magnitudes up to ``covered``; int16, 15 fraction bits."""
        limit, expr = round(covered / x.scale), x.expr
        if x.bound > limit:
            expr = self._clipped(expr, -limit, limit - 1)
        fraction = max(x.fraction, LEAST_FRACTION)
        if fraction > x.fraction:
            factor = relax.const(1 << (fraction - x.fraction), "int32")
            expr = self.emit(relax.op.multiply(self.emit(relax.op.astype(expr, "int32")), factor))
        if str(expr.ty.dtype.dtype) != "int16":
            expr = self.emit(relax.op.astype(expr, "int16"))
        return Quantized(self.emit(function(expr, fraction)), 2.0**-15, 1 << 15)

    def narrow(self, x: Quantized, form: Format) -> Quantized:
        """In the format ``form``, saturated."""
        if (x.scale, x.dtype) == (form.scale, form.dtype) and x.bound <= form.bound:
            return x
        ratio = x.scale / form.step
        if ratio >= 1 and log2(ratio).is_integer() and ratio * x.bound <= _LARGEST:
            factor = relax.const(int(ratio), "int32")
            exact = (
                x.expr if ratio == 1 else self.emit(relax.op.multiply(self.wide(x).expr, factor))
            )
            return self.saturated(exact, int(ratio) * x.bound, form)
        bits = 8 if form.bits == 8 else 16
        scaled = ops.requantize(self.wide(x).expr, Multiplier.of(ratio), bits)
        return self.saturated(self.emit(scaled), 1 << (bits - 1), form)

    def saturated(self, x: relax.Expr, bound: int, form: Format) -> Quantized:
        """Integers saturated to ``form.bits``, as the multiples that ``form`` wants."""
        if bound > 1 << (form.bits - 1):
            x = self._clipped(x, *fixedpoint.limits(form.bits))
        if form.shift:
            x = self.emit(relax.op.astype(x, "int32"))
            x = self.emit(relax.op.multiply(x, relax.const(1 << form.shift, "int32")))
        if str(x.ty.dtype.dtype) != form.dtype:
            x = self.emit(relax.op.astype(x, form.dtype))
        return Quantized(x, form.scale, form.bound)

    def quantize(self, x: relax.Expr, form: Format) -> Quantized:
        """A tensor of floats."""
        bits = 8 if form.bits == 8 else 16
        integers = self.emit(ops.quantize(x, form.step, bits))
        return self.saturated(integers, 1 << (bits - 1), form)

    def dequantize(self, x: Quantized) -> relax.Expr:
        """As float32."""
        floats = self.emit(relax.op.astype(x.expr, "float32"))
        return self.emit(relax.op.multiply(floats, relax.const(x.scale, "float32")))

    def _coarser(self, x: Quantized, bits: int) -> Quantized:
        """With so many bits less, rounded; as it is for none or less."""
        if bits <= 0:
            return x
        expr = self.wide(x).expr
        if bits == 1:  # a multiplier of 1/2 has no factor below 2**31
            more = self.emit(relax.op.add(expr, relax.const(1, "int32")))
            expr = self.emit(relax.op.right_shift(more, relax.const(1, "int32")))
        else:
            expr = self.emit(ops.requantize(expr, Multiplier.of(2.0**-bits), 32))
        return Quantized(expr, x.scale * 2.0**bits, (x.bound >> bits) + 1)

    def _clipped(self, x: relax.Expr, low: int, high: int) -> relax.Expr:
        """As int32, in which saturating is one instruction."""
        if str(x.ty.dtype.dtype) != "int32":
            x = self.emit(relax.op.astype(x, "int32"))
        return self.emit(relax.op.clip(x, relax.prim_value(low), relax.prim_value(high)))

    def _aligned(self, a: Quantized, b: Quantized) -> tuple[Quantized, Quantized]:
        """Both as int32 with one scale, with which neither sum nor difference overflows."""
        scale = min(a.scale, b.scale)
        while sum(int(np.ceil(x.bound * x.scale / scale)) + 1 for x in (a, b)) > _LARGEST:
            scale *= 2
        return self._with_scale(a, scale), self._with_scale(b, scale)

    def _with_scale(self, x: Quantized, scale: float) -> Quantized:
        x, bits = self.wide(x), round(-log2(scale)) - x.fraction
        if isinstance(x.expr, GenericConst):
            exact = x.expr.value.numpy().astype(np.float64) * 2.0**bits
            integers = np.floor(exact + 0.5).astype(np.int32)
            return Quantized(relax.const(integers, "int32"), scale, _bound(integers))
        if bits < 0:
            return self._coarser(x, -bits)
        if bits == 0:
            return x
        expr = self.emit(relax.op.multiply(x.expr, relax.const(1 << bits, "int32")))
        return Quantized(expr, scale, x.bound << bits)


def _bound(integers: np.ndarray) -> int:
    return int(np.abs(integers).max(initial=1))


def _excess(a: Quantized, b: Quantized) -> int:
    """By how many bits a product may exceed int32."""
    return max(0, (a.bound * b.bound).bit_length() - 31)
