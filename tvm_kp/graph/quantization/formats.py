"""How each tensor of a quantized model is stored: its scale and its bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tvm_kp import fixedpoint
from tvm_kp.graph.calibrate import Range

if TYPE_CHECKING:
    from tvm_kp.graph.quantization.storage import Storage, Stored

WIDE_BITS = 16
# Where tanh and the sigmoid are read from their table: it covers [-8, 8), and twice that.
TANH_FRACTION, SIGMOID_FRACTION = 12, 11
# What the table can be read with, however small or large the values are.
LEAST_FRACTION, MOST_FRACTION = 5, 14
_TINY = 1e-9  # what a logarithm may be off


@dataclass(frozen=True)
class Format:
    """Integers q that stand for q * ``scale``, stored in ``container`` bits, 8 or 16.

    They are multiples of 2**``shift`` with ``bits`` significant bits, sign included: what is
    joined with values of another range has other steps, not another scale.
    """

    scale: float
    bits: int
    shift: int = 0
    container: int = WIDE_BITS

    @property
    def dtype(self) -> str:
        return f"int{self.container}"

    @property
    def bound(self) -> int:
        """The largest magnitude."""
        return 1 << (self.bits - 1 + self.shift)

    @property
    def step(self) -> float:
        """The difference of neighboring values."""
        return self.scale * 2.0**self.shift


def choose(
    storage: Storage,
    ranges: Mapping[Stored, Range],
    bits: int,
    io_bits: int | None,
    limits: Mapping[Stored, int],
) -> dict[Stored, Format]:
    """The format of everything that is kept.

    ``ranges`` are those on the calibration inputs and ``limits`` those of
    integers that do not overflow the sums of products. ``bits`` (8 or 16) are those of activations
    that products read; what products alone write and read, gates and cell states have 16. What
    point-wise operators read has a power of two for its scale. ``io_bits`` are those of inputs
    and outputs, where these are integers.
    """
    wholes = {whole for whole, _ in storage.joined}
    result: dict[Stored, Format] = {}
    for group in _groups(storage):
        most = min([WIDE_BITS, *(limits[one].bit_length() for one in group if one in limits)])
        own = {one: _alone(one, ranges[one], bits, io_bits) for one in group - wholes}
        formats = _together(own, most)
        widest = max(form.bits + form.shift for form in formats.values())
        container = 8 if widest <= 8 else WIDE_BITS
        for one, form in formats.items():
            result[one] = replace(form, container=container)
        scale = next(iter(formats.values())).scale
        joined = Format(scale, widest, container=container)
        result |= dict.fromkeys(group & wholes, joined)
    return result


def _alone(stored: Stored, seen: Range, bits: int, io_bits: int | None) -> Format:
    activation = stored.readers & {"sigmoid", "tanh"}
    if activation == stored.readers and activation:
        fraction = SIGMOID_FRACTION if "sigmoid" in activation else TANH_FRACTION
        return Format(2.0**-fraction, WIDE_BITS)
    if io_bits is not None and (stored.writers == {"input"} or stored.readers == {"output"}):
        bits = io_bits
    elif stored.writers == {"product"} or "product" not in stored.readers:
        bits = WIDE_BITS
    largest = (seen.clip if bits <= 8 else seen.largest) or 1.0
    scale = _rounded_up(largest) / fixedpoint.limits(bits)[1]
    if activation or "pointwise" in stored.readers:
        scale = _power_of_two(scale)
    if activation:
        scale = min(max(scale, 2.0**-MOST_FRACTION), 2.0**-LEAST_FRACTION)
    return Format(scale, bits)


def _power_of_two(scale: float) -> float:
    """The next one from ``scale`` on."""
    return float(2.0 ** np.ceil(np.log2(scale) - _TINY))


def _rounded_up(largest: float) -> float:
    """To 10 bits, so that a rounding difference between two calibration runs changes no scale."""
    mantissa, exponent = np.frexp(largest)
    return float(np.ldexp(np.ceil(mantissa * 1024) / 1024, exponent))


def _groups(storage: Storage) -> list[set[Stored]]:
    """What is joined, directly or through others, and every other kept tensor alone."""
    group = {one: {one} for one in storage.all if one.kept}
    for whole, part in storage.joined:
        merged = group[whole] | group[part]
        group.update(dict.fromkeys(merged, merged))
    return list({id(one): one for one in group.values()}.values())


def _together(own: Mapping[Stored, Format], most: int) -> dict[Stored, Format]:
    """Formats with one scale in at most ``most`` bits, each with about the step of its own."""
    forms = own.values()
    if any(form.scale == _power_of_two(form.scale) for form in forms):
        own = {one: replace(form, scale=_power_of_two(form.scale)) for one, form in own.items()}
    coarsest = max(form.scale * 2.0 ** (form.bits - most) for form in own.values())
    scale = max(coarsest, min(form.scale for form in own.values()))
    return {
        one: Format(
            scale,
            min(form.bits, most),
            max(0, int(np.ceil(np.log2(form.scale / scale) - _TINY))),
        )
        for one, form in own.items()
    }
