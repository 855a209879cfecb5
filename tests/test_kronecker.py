"""The product, its cost and the nearest factors, against numpy's own kron and SVD."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_kp import kronecker

sides = st.integers(1, 6)
shapes = st.tuples(st.tuples(sides, sides), st.tuples(sides, sides))
seeds = st.integers(0, 2**32 - 1)
quick = settings(deadline=None, max_examples=60)


def drawn(factors, seed):
    random = np.random.default_rng(seed)
    return tuple(random.standard_normal(shape) for shape in factors)


@quick
@given(shapes, seeds)
def test_kron_is_numpys(factors, seed):
    a, b = drawn(factors, seed)
    np.testing.assert_array_equal(kronecker.kron(a, b), np.kron(a, b))


@quick
@given(shapes, seeds, st.sampled_from(["a_first", "b_first"]), st.lists(sides, max_size=2))
def test_matvec_is_the_dense_product(factors, seed, order, lead):
    a, b = drawn(factors, seed)
    v = np.random.default_rng(seed).standard_normal((*lead, a.shape[1] * b.shape[1]))
    result = kronecker.matvec(a, b, v, order)
    np.testing.assert_allclose(result, v @ np.kron(a, b).T, rtol=1e-12, atol=1e-12)


def test_macs_of_the_paper():
    kws = ((2, 16), (59, 8))
    assert kronecker.macs(kws, "a_first") == 2 * 8 * (16 + 59) == 1200
    assert kronecker.macs(kws, "b_first") == 16 * 59 * (8 + 2)
    assert kronecker.order_of(kws) == "a_first"
    assert kronecker.order_of(((59, 8), (2, 16))) == "b_first"


@quick
@given(shapes)
def test_order_is_the_cheapest(factors):
    (m1, n1), (m2, n2) = factors
    order = kronecker.order_of(factors)
    other = "b_first" if order == "a_first" else "a_first"
    held = {"a_first": m1 * n2, "b_first": n1 * m2}
    assert (kronecker.macs(factors, order), held[order]) <= (
        kronecker.macs(factors, other),
        held[other],
    )


def test_unknown_order_is_refused():
    with pytest.raises(ValueError, match="'a_first' and 'b_first'"):
        kronecker.macs(((2, 2), (2, 2)), "best")
    with pytest.raises(ValueError, match="'a_first' and 'b_first'"):
        kronecker.matvec(np.eye(2), np.eye(2), np.ones(4), "best")


@pytest.mark.parametrize(
    ("rows", "cols", "expected"),
    [
        (40, 68, ((5, 17), (8, 4))),
        (118, 128, ((2, 16), (59, 8))),
        (154, 164, ((11, 41), (14, 4))),
        (179, 256, ((1, 16), (179, 16))),
        (1, 1, ((1, 1), (1, 1))),
    ],
)
def test_factor_shapes_of_the_paper(rows, cols, expected):
    assert kronecker.factor_shapes(rows, cols) == expected


@quick
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_factor_shapes_multiply_to_the_whole(rows, cols):
    (m1, n1), (m2, n2) = kronecker.factor_shapes(rows, cols)
    assert (m1 * m2, n1 * n2) == (rows, cols)
    assert m1 <= m2 and n1 >= n2


def test_factor_shapes_refuse_an_empty_side():
    with pytest.raises(ValueError, match="a side of 0"):
        kronecker.factor_shapes(0, 4)


@quick
@given(shapes, seeds)
def test_nearest_is_the_best_of_rank_one(factors, seed):
    (m1, n1), (m2, n2) = factors
    w = np.random.default_rng(seed).standard_normal((m1 * m2, n1 * n2))
    a, b, error = kronecker.nearest(w, factors)
    rearranged = w.reshape(m1, m2, n1, n2).transpose(0, 2, 1, 3).reshape(m1 * n1, m2 * n2)
    singular = np.linalg.svd(rearranged, compute_uv=False)
    best = math.sqrt((singular[1:] ** 2).sum()) / np.linalg.norm(w)
    assert error == pytest.approx(best, abs=1e-6)
    assert np.linalg.norm(w - np.kron(a, b)) / np.linalg.norm(w) == pytest.approx(error, abs=1e-12)
    assert np.linalg.norm(a) == pytest.approx(np.linalg.norm(b))


@quick
@given(shapes, seeds, st.floats(-30, 30))
def test_nearest_recovers_a_product_entry_by_entry(factors, seed, exponent):
    # Entries over twelve decades: the small ones must be as exact as the large ones.
    random = np.random.default_rng(seed)
    a, b = (10 ** random.uniform(-3, 3, shape) * random.choice([-1, 1], shape) for shape in factors)
    w = np.kron(a, b) * 10**exponent
    found_a, found_b, error = kronecker.nearest(w, factors)
    np.testing.assert_allclose(np.kron(found_a, found_b), w, rtol=1e-12)
    assert error < 1e-12


def test_nearest_is_not_caught_by_a_large_entry_beside_the_leading_direction():
    # Singular values 4 (a block of twos) and 3 (the largest entry).
    w = np.array([[3.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 2, 2], [0, 0, 2, 2]])
    a, b, error = kronecker.nearest(w.reshape(4, 4), ((4, 1), (1, 4)))
    assert error == pytest.approx(3 / 5)
    np.testing.assert_allclose(np.kron(a, b)[2:, 2:], 2, atol=1e-9)


def test_nearest_of_zero_is_zero():
    a, b, error = kronecker.nearest(np.zeros((6, 6)), ((2, 3), (3, 2)))
    assert not a.any() and not b.any() and error == 0


def test_nearest_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="make 6x6, not \\(6, 5\\)"):
        kronecker.nearest(np.ones((6, 5)), ((2, 3), (3, 2)))
