"""The integer arithmetic against exact rationals, and against the functions it approximates."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_kp import fixedpoint
from tvm_kp.fixedpoint import Multiplier

INT16 = np.arange(-(2**15), 2**15)
int32s = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.sampled_from([-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1]),
)
widths = st.integers(2, 16)
reals = st.floats(2.0**-32, 2.0**14)
many = settings(deadline=None, max_examples=500)


def rounded(x: Fraction) -> int:
    return floor(x + Fraction(1, 2))


def clipped(x: int, bits: int) -> int:
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, x))


@many
@given(int32s, int32s)
def test_multiply_high_is_the_rounded_upper_half(a, b):
    assert fixedpoint.multiply_high(a, b) == rounded(Fraction(a * b, 2**32))


@many
@given(st.integers(-(2**30), 2**30), st.integers(0, 29))
def test_shift_right_rounds_halves_up(x, bits):
    assert fixedpoint.shift_right(np.int32(x), bits) == rounded(Fraction(x, 2**bits))


@many
@given(reals)
def test_a_multiplier_is_near_its_number(real):
    multiplier = Multiplier.of(real)
    assert 0 < multiplier.factor < 2**31
    assert abs(float(multiplier.real) - real) <= 2.0 ** (multiplier.left - 33)
    assert multiplier.left == 0 or multiplier.factor >= 2**30


@many
@given(int32s, reals, widths)
def test_requantize_is_the_product_rounded_and_saturated(x, real, bits):
    multiplier = Multiplier.of(real)
    exact = Fraction(int(multiplier.factor), 2**32) * 2**multiplier.left
    assert fixedpoint.requantize(x, multiplier, bits) == clipped(rounded(x * exact), bits)


@many
@given(st.lists(st.tuples(int32s, st.floats(2.0**-10, 4.0)), min_size=1, max_size=9), widths)
def test_rows_are_requantized_like_each_alone(rows, bits):
    values, scales = np.array([x for x, _ in rows]), [real for _, real in rows]
    multiplier = Multiplier.of(scales)
    results = fixedpoint.requantize(values, multiplier, bits)
    for result, x, factor in zip(results, values, multiplier.factor, strict=True):
        exact = Fraction(int(factor), 2**32) * 2**multiplier.left
        assert result == clipped(rounded(int(x) * exact), bits)


@pytest.mark.parametrize("real", [0.0, -1.0, np.inf, np.nan, 2.0**16, 2.0**-40, [1.0, 1e-7], []])
def test_multipliers_out_of_reach_are_refused(real):
    with pytest.raises(ValueError, match="multiplier"):
        Multiplier.of(real)


@many
@given(st.floats(width=32), st.floats(1e-6, 1e3), st.sampled_from([8, 16]))
def test_quantized_floats_are_near_or_at_the_end(x, scale, bits):
    low, high = fixedpoint.limits(bits)
    q = int(fixedpoint.quantize(x, scale, bits))
    assert low <= q <= high
    if np.isnan(x):
        assert q == low
    elif low < x / scale < high:
        back = float(fixedpoint.dequantize(q, scale))
        assert abs(back - x) <= 0.51 * scale
    else:
        assert q == (high if x > 0 else low)


@many
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**32 - 1), st.booleans())
def test_weights_fill_their_range(rows, columns, seed, per_row):
    random = np.random.default_rng(seed)
    w = random.standard_normal((rows, columns)) * 10.0 ** random.integers(-6, 3, (rows, 1))
    q, scale = fixedpoint.quantize_weights(w, per_row=per_row)
    assert scale.shape == ((rows, 1) if per_row else (1, 1))
    assert np.abs(q).max() == 127
    assert (np.abs(q * scale - w) <= scale * 0.5000001).all()
    assert scale.max() <= 1024.0001 * scale.min()
    Multiplier.of(scale / scale.max())  # one multiplier serves all rows


def test_rows_have_scales_where_they_pay():
    w = np.random.default_rng(0).uniform(-1, 1, (2, 3, 8))
    assert fixedpoint.quantize_weights(w)[1].shape == (2, 1, 1)
    w[:, 1:] /= 50
    q, scale = fixedpoint.quantize_weights(w)
    assert scale.shape == (2, 3, 1)
    turned, scales = fixedpoint.quantize_weights(w.swapaxes(1, 2), inner=-2)
    np.testing.assert_array_equal(turned, q.swapaxes(1, 2))
    np.testing.assert_array_equal(scales, scale.swapaxes(1, 2))


def test_rounded_weights_are_rounded_to_themselves():
    for rows in (1.0, np.geomspace(1, 1e-4, 6)[:, None]):
        w = rows * np.random.default_rng(0).standard_normal((6, 9))
        q, scale = fixedpoint.quantize_weights(w)
        again, scales = fixedpoint.quantize_weights((q * scale).astype(np.float32))
        np.testing.assert_array_equal(again, q)
        np.testing.assert_allclose(scales, scale, rtol=1e-6)


def test_zero_weights_have_a_scale():
    q, scale = fixedpoint.quantize_weights(np.zeros((2, 3)), per_row=True)
    assert not q.any() and (scale == 1).all()


@many
@given(st.floats(1e-4, 2.0**15 - 1), widths)
def test_fraction_bits_are_as_many_as_fit(bound, bits):
    f, high = fixedpoint.fraction_bits(bound, bits), fixedpoint.limits(bits)[1]
    assert f == bits - 1 or bound * 2.0**f <= high < bound * 2.0 ** (f + 1)


@pytest.mark.parametrize("fraction", range(12, 16))
def test_tanh_is_as_near_as_it_says(fraction):
    result = fixedpoint.tanh(INT16, fraction)
    assert np.abs(result / 2**15 - np.tanh(INT16 / 2**fraction)).max() < 1.2e-4
    np.testing.assert_array_equal(result, fixedpoint.saturate(result, 16))
    assert (np.diff(result) >= 0).all()


@pytest.mark.parametrize("fraction", range(11, 15))
def test_sigmoid_is_as_near_as_it_says(fraction):
    result = fixedpoint.sigmoid(INT16, fraction)
    exact = 1 / (1 + np.exp(-INT16 / 2**fraction))
    assert np.abs(result / 2**15 - exact).max() < 7e-5
    np.testing.assert_array_equal(result, fixedpoint.saturate(result, 16))
    assert (np.diff(result) >= 0).all()


@pytest.mark.parametrize("result_fraction", [7, 12, 14])
def test_activations_round_to_fewer_bits(result_fraction):
    unit = 2.0**-result_fraction
    for function, fraction, exact in [
        (fixedpoint.tanh, 12, np.tanh(INT16 / 2**12)),
        (fixedpoint.sigmoid, 11, 1 / (1 + np.exp(-INT16 / 2**11))),
    ]:
        result = function(INT16, fraction, result_fraction) * unit
        assert np.abs(result - exact).max() <= unit / 2 + 1.2e-4


@given(
    st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=40),
    st.floats(2.0**-15, 2.0**-4),
)
def test_softmax_is_near_the_function_and_its_parts_make_one(values, scale):
    x = np.array(values)
    multiplier = Multiplier.of(scale * np.log2(np.e) * 2**fixedpoint.EXP_FRACTION)
    exact = np.exp((x - x.max()) * scale)
    found = fixedpoint.softmax(x[None], multiplier)[0] / 2**15
    np.testing.assert_allclose(found, exact / exact.sum(), rtol=0, atol=1.5e-3)
    assert abs(found.sum() - 1) <= (1 + len(x)) / 2**15


def test_powers_of_two_below_one():
    t = np.arange(20 * 2**fixedpoint.EXP_FRACTION)
    found = fixedpoint.exp2_negative(t) / 2**15
    assert np.abs(found - 2.0 ** -(t / 2**fixedpoint.EXP_FRACTION)).max() <= 2.1e-4
