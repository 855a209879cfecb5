"""Scales, bits and shifts of tensors that are joined."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp import fixedpoint
from tvm_kp.graph.calibrate import Range
from tvm_kp.graph.quantization.formats import choose
from tvm_kp.graph.quantization.storage import Stored


class Joined:
    """What ``choose`` reads of a ``Storage``: a tensor joined of parts."""

    def __init__(self, *parts: Stored) -> None:
        self.whole = Stored(kept=True, readers={"product"})
        self.all = [*parts, self.whole]
        self.joined = [(self.whole, part) for part in parts]


def part(**changes) -> Stored:
    return Stored(kept=True, readers={"product"}, writers={"pointwise"}, **changes)


def range_of(largest: float) -> Range:
    return Range(-largest, largest, largest)


magnitudes = st.floats(-12, 12).map(lambda exponent: 2.0**exponent)


@given(st.lists(magnitudes, min_size=1, max_size=4), st.sampled_from([8, 16]), st.integers(9, 16))
def test_parts_share_a_scale_and_lose_little(largest, bits, most):
    parts = [part() for _ in largest]
    storage = Joined(*parts)
    ranges = dict(zip(parts, map(range_of, largest), strict=True)) | {storage.whole: range_of(0)}
    forms = choose(storage, ranges, bits, None, {storage.whole: 2 ** (most - 1)})
    whole = forms[storage.whole]
    for one, reach in zip(parts, largest, strict=True):
        form = forms[one]
        assert (form.scale, form.dtype) == (whole.scale, whole.dtype)
        assert form.bound <= whole.bound <= 2 ** (most - 1)
        held = form.step * fixedpoint.limits(form.bits)[1]
        # Everything fits, and no more than one bit is lost where there is room for all.
        assert held >= reach * 0.99
        if max(largest) / min(largest) <= 2.0 ** (most - min(bits, most)) and bits <= most:
            assert held <= 2.01 * reach


def test_equal_ranges_of_eight_bits_need_no_more():
    parts = [part(), part()]
    storage = Joined(*parts)
    ranges = dict.fromkeys(storage.all, range_of(1.0))
    assert {form.dtype for form in choose(storage, ranges, 8, None, {}).values()} == {"int8"}


def test_what_point_wise_operators_read_has_a_power_of_two():
    one = part()
    one.readers.add("pointwise")
    storage = Joined(one, part())
    ranges = dict.fromkeys(storage.all, range_of(0.3))
    for form in choose(storage, ranges, 8, None, {}).values():
        assert np.log2(form.scale).is_integer()
