"""The integer arithmetic of quantized models, stated once in numpy.

Every integer kernel computes exactly what these functions do. A number r is stored as an integer
q = r / scale; there are no zero points. Whatever is rounded is rounded to the nearest integer,
halves up, because that is what SMMULR and a shift after adding one half do; whatever leaves its
range saturates, nothing wraps around.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[Any]
Ints32 = NDArray[np.int32]

LEAST_SCALE = 1 / 1024  # of weights, beside the largest of the same product: one shift serves all
ROWS_PAY = 0.5  # the part of the rounding errors' energy that scales of rows may leave
TABLE_INTERVALS = 512  # the table of tanh covers [-8, 8)
_TABLE_BITS = 5  # its points are 2**-5 apart
_LAST_ENTRY = 32766  # with 32767 a sigmoid would be rounded to 1, which int16 has not


@dataclass(frozen=True)
class Multiplier:
    """A positive real as integers: ``factor * 2**(left - 32)``.

    ``factor`` is an int32 or an array of them below 2**31, one for each row of a product; all
    rows have one ``left``, because it decides which instructions are needed.
    """

    factor: Ints32
    left: int

    @staticmethod
    def of(real: ArrayLike) -> Multiplier:
        """The nearest multiplier, of reals below 2**15.

        Raises ``ValueError`` for reals below 2**-32, and beside one from 1/2 on for reals so small
        that saturating before the shift to the left would be seen.
        """
        values = np.asarray(real, np.float64)
        if not values.size or not np.isfinite(values).all() or (values <= 0).any():
            raise ValueError(f"a multiplier needs positive finite numbers, found {values}")
        largest = float(values.max())
        # frexp says largest < 2**exponent, and factor may be anything below 2**31.
        left = max(0, int(np.frexp(largest)[1]) + 1)
        factor = np.floor(values * 2.0 ** (32 - left) + 0.5)
        if factor.max() >= 2**31:  # rounded up to a power of two
            left += 1
            factor = np.floor(values * 2.0 ** (32 - left) + 0.5)
        if left > 16:
            raise ValueError(f"a multiplier must be below 2**15, found {largest}")
        if factor.min() < (2**16 if left else 1):
            raise ValueError(f"a multiplier of {values.min()} is too small, beside {largest}")
        return Multiplier(factor.astype(np.int32), left)

    @property
    def real(self) -> NDArray[np.float64]:
        """The number that is multiplied by."""
        return np.asarray(self.factor * 2.0 ** (self.left - 32))


def limits(bits: int) -> tuple[int, int]:
    """The smallest and the largest signed integer of ``bits``."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def saturate(x: ArrayLike, bits: int) -> Integers:
    """``x`` with what is out of the range of ``bits`` at its end; the dtype of ``x``. SSAT."""
    return np.clip(np.asarray(x), *limits(bits))


def shift_right(x: ArrayLike, bits: int) -> Integers:
    """x / 2**bits, rounded; ``bits`` >= 0. The sum with one half must fit the dtype of ``x``."""
    x = np.asarray(x)
    return x if bits == 0 else (x + (1 << (bits - 1))) >> bits


def multiply_high(a: ArrayLike, b: ArrayLike) -> Ints32:
    """a * b / 2**32 of int32, rounded. SMMULR."""
    wide = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return shift_right(wide, 32).astype(np.int32)


def requantize(x: ArrayLike, multiplier: Multiplier, bits: int) -> Ints32:
    """x * multiplier, rounded and saturated to ``bits``; ``x`` and the result are int32.

    Where the multiplier shifts to the left, what would leave int32 is saturated before: with
    ``bits`` <= 16 it is saturated after it in any case. With 32 the result is not saturated again.
    """
    x = np.asarray(x, np.int32)
    if multiplier.left:
        x = saturate(x, 32 - multiplier.left) << multiplier.left
    return saturate(multiply_high(x, multiplier.factor), bits).astype(np.int32)


def quantize(x: ArrayLike, scale: float, bits: int) -> Ints32:
    """Floats -> integers of ``bits``, in float32 as a device computes it: x * (1 / scale).

    Halves are rounded away from zero here, as a conversion that cuts off allows it. Not a number
    becomes the smallest integer.
    """
    low, high = (np.float32(end) for end in limits(bits))
    with np.errstate(over="ignore"):  # infinity saturates like everything large
        scaled = np.asarray(x, np.float32) * np.float32(1 / scale)
    inside = np.where(scaled > low, np.minimum(scaled, high), low)
    half = np.where(inside < 0, np.float32(-0.5), np.float32(0.5))
    return np.trunc(inside + half).astype(np.int32)


def dequantize(q: ArrayLike, scale: float) -> NDArray[np.float32]:
    """Integers -> float32: q * scale."""
    return np.asarray(q).astype(np.float32) * np.float32(scale)


def quantize_weights(
    w: ArrayLike,
    bits: int = 8,
    per_row: bool | None = None,
    inner: int = -1,
    smallest: float = 0.0,
) -> tuple[Ints32, NDArray[np.float64]]:
    """Weights -> (q, scale), symmetric: ``|q|`` <= 2**(bits - 1) - 1, nearest, halves up.

    ``w`` is (…, rows, columns), or (…, columns, rows) with ``inner`` -2, the axis that a product
    sums over. Every matrix of a batch has a scale of its own, with ``per_row`` every row of one,
    and with None that is so where it pays: see ``ROWS_PAY``. Scales broadcast to ``w``; they are
    at least ``LEAST_SCALE`` of the largest and ``smallest``, and 1 where all is zero.
    """
    w = np.asarray(w, np.float64)
    if per_row is None:
        whole, rows = (quantize_weights(w, bits, way, inner, smallest) for way in (False, True))
        errors = [float(((q * scale - w) ** 2).sum()) for q, scale in (whole, rows)]
        return rows if errors[1] < ROWS_PAY * errors[0] else whole
    largest = np.abs(w).max(axis=inner if per_row else (-2, -1), keepdims=True)
    largest = np.maximum(largest, LEAST_SCALE * largest.max())
    scale = np.maximum(largest / limits(bits)[1], smallest)
    scale[scale == 0] = 1.0
    return np.floor(w / scale + 0.5).astype(np.int32), scale


def fraction_bits(bound: float, bits: int = 16) -> int:
    """The largest f, at most ``bits`` - 1, for which ``bound`` * 2**f fits ``bits``.

    The scale of a fixed-point number whose magnitude is at most ``bound`` is 2**-f.
    """
    if bound <= 0:
        return bits - 1
    return min(bits - 1, int(np.floor(np.log2(limits(bits)[1] / bound))))


def tanh_table() -> NDArray[np.int16]:
    """tanh at k / 32 for k = -256 … 256, 15 fraction bits: 1,026 bytes."""
    points = np.arange(-TABLE_INTERVALS // 2, TABLE_INTERVALS // 2 + 1) / 2**_TABLE_BITS
    entries = np.floor(np.tanh(points) * 2**15 + 0.5)
    return np.clip(entries, -_LAST_ENTRY, _LAST_ENTRY).astype(np.int16)


@dataclass(frozen=True)
class Interpolation:
    """How a function is read from the table: at x / 2**``between``, with 15 + ``between``
    fraction bits; then ``offset`` is added, one half among it, and ``shift`` bits dropped."""

    between: int
    offset: int
    shift: int


def tanh_interpolation(fraction: int, result_fraction: int) -> Interpolation:
    """For ``tanh``."""
    between = fraction - _TABLE_BITS
    shift = 15 + between - result_fraction
    return Interpolation(between, _half(shift), shift)


def sigmoid_interpolation(fraction: int, result_fraction: int) -> Interpolation:
    """For ``sigmoid``: 1/2 + tanh(x / 2) / 2, and x / 2 has one fraction bit more."""
    between = fraction + 1 - _TABLE_BITS
    shift = 16 + between - result_fraction
    return Interpolation(between, (1 << (15 + between)) + _half(shift), shift)


def tanh(x: ArrayLike, fraction: int, result_fraction: int = 15) -> Ints32:
    """tanh of int16 with ``fraction`` bits (5 to 15), to ``result_fraction`` bits (at most 15).

    Linear between the entries of the table; at most 1.2e-4 off where x has 12 bits and the result
    15. ``x`` must be inside of the table: with fewer than 12 bits saturate it before.
    """
    return interpolate(x, tanh_interpolation(fraction, result_fraction))


def sigmoid(x: ArrayLike, fraction: int, result_fraction: int = 15) -> Ints32:
    """1 / (1 + exp(-x)) of int16 with ``fraction`` bits (4 to 14).

    Linear between the entries of the table of tanh, which covers [-16, 16) here; at most 7e-5 off
    where x has 11 bits and the result 15.
    """
    return interpolate(x, sigmoid_interpolation(fraction, result_fraction))


def interpolate(x: ArrayLike, form: Interpolation) -> Ints32:
    """From the table of tanh: two neighboring entries, weighted by where int16 x lies between
    them. SMLAD."""
    x = np.asarray(x, np.int32)
    width = 1 << form.between
    index, rest = (x >> form.between) + TABLE_INTERVALS // 2, x & (width - 1)
    table = tanh_table().astype(np.int32)
    total = table[index] * (width - rest) + table[index + 1] * rest
    return (total + form.offset) >> form.shift


EXP_FRACTION = 10  # bits of the exponents of softmax behind the point
# 2**-f on [0, 1), 15 fraction bits: the minimax cubic through both ends, 8e-5 off.
EXP_POLYNOMIAL = (32768, -22665, 7579, -1298)


def softmax(x: ArrayLike, multiplier: Multiplier) -> Ints32:
    """softmax of int16 along the last axis, at most 65,536 long, to 15 fraction bits.

    ``multiplier`` is the scale of ``x`` times log2(e) * 2**``EXP_FRACTION``: every term is
    2**-(n + f), n whole, so a shift, and f below 1, a polynomial.
    """
    x = np.asarray(x, np.int32)
    below = requantize(x.max(axis=-1, keepdims=True) - x, multiplier, 32)
    terms = exp2_negative(below)
    total = terms.sum(axis=-1, keepdims=True, dtype=np.int32)
    return np.minimum(((terms << 15) + (total >> 1)) // total, limits(16)[1]).astype(np.int32)


def exp2_negative(t: ArrayLike) -> Ints32:
    """2**-t of t >= 0 with ``EXP_FRACTION`` bits, to 15 fraction bits."""
    t = np.asarray(t, np.int32)
    f = (t & ((1 << EXP_FRACTION) - 1)) << (15 - EXP_FRACTION)
    c0, c1, c2, c3 = EXP_POLYNOMIAL
    value = c0 + shift_right(f * (c1 + shift_right(f * (c2 + shift_right(f * c3, 15)), 15)), 15)
    return value >> np.minimum(t >> EXP_FRACTION, 31)


def _half(shift: int) -> int:
    return 1 << (shift - 1) if shift else 0
