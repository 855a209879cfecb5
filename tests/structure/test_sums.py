"""Sums of Kronecker products: all terms found, no more, and nothing in what is no such sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_kp import kronecker
from tvm_kp.structure import KroneckerSum, confirm, find
from tvm_kp.structure.base import ULP

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(4, 9)


def summed(random, factors, terms, blocks=1):
    def draw(shape):
        return random.standard_normal(shape).astype(np.float32)

    gates = [sum(kronecker.kron(*map(draw, factors)) for _ in range(terms)) for _ in range(blocks)]
    return np.concatenate(gates)


def multiplied_out(found):
    return np.concatenate(
        [
            sum(np.kron(a, b) for a, b in zip(*gate, strict=True))
            for gate in zip(found.a.astype(float), found.b.astype(float), strict=True)
        ]
    )


@settings(max_examples=100)
@given(
    st.tuples(*[st.tuples(sizes, sizes)] * 2), st.integers(2, 3), st.sampled_from([1, 3, 4]), seeds
)
def test_finds_a_sum_with_its_terms(factors, terms, blocks, seed):
    w = summed(np.random.default_rng(seed), factors, terms, blocks)
    macs = blocks * terms * kronecker.macs(factors, kronecker.order_of(factors))
    found = find(w, blocks)
    if macs >= w.size:
        assert found is None
        return
    assert isinstance(found, KroneckerSum)
    assert (found.factors, found.terms, found.blocks) == (factors, terms, blocks)
    assert (found.macs, found.shape) == (macs, w.shape)
    assert found.nbytes == 4 * blocks * terms * sum(m * n for m, n in factors)
    assert found.error < 1e-6
    np.testing.assert_allclose(multiplied_out(found), w, rtol=0, atol=64 * ULP * np.abs(w).max())


@settings(max_examples=30)
@given(st.integers(2, 3), st.sampled_from([1e-3, 1e-4]), st.booleans(), seeds)
def test_near_misses_stay_dense(terms, by, noise, seed):
    random = np.random.default_rng(seed)
    w = summed(random, ((6, 8), (7, 6)), terms)
    if noise:
        w *= 1 + by * random.standard_normal(w.shape).astype(np.float32)
    else:
        w.flat[np.abs(w).argsort(axis=None)[random.integers(w.size // 2, w.size)]] *= 1 + by
    assert find(w) is None


@settings(max_examples=30)
@given(st.sampled_from([1, 2, 4]), st.integers(1, 48), st.integers(1, 48), seeds)
def test_nothing_beside_huge_entries(blocks, rows, cols, seed):
    # A huge row and a huge column: two terms are exact but for everything else.
    random = np.random.default_rng(seed)
    w = random.standard_normal((blocks * rows, cols))
    w[random.integers(len(w))] *= 1e7
    w[:, random.integers(cols)] *= 1e7
    assert find(w.astype(np.float32), blocks) is None


def test_gates_with_fewer_terms():
    random = np.random.default_rng(0)
    factors = ((5, 6), (6, 5))
    w = np.concatenate([summed(random, factors, terms) for terms in (2, 1, 2)])
    found = find(w, 3)
    assert isinstance(found, KroneckerSum) and found.terms == 2
    np.testing.assert_allclose(multiplied_out(found), w, rtol=0, atol=1e-5)


def test_sparse_factors():
    random = np.random.default_rng(1)
    a, b = (random.standard_normal((2, 8, 8)) * (random.random((2, 8, 8)) < 0.3) for _ in range(2))
    w = sum(np.kron(*pair) for pair in zip(a, b, strict=True))
    found = find(w)
    assert isinstance(found, KroneckerSum) and found.factors == ((8, 8), (8, 8))
    np.testing.assert_allclose(multiplied_out(found), w, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e20])
def test_extreme_scales(scale):
    w = summed(np.random.default_rng(2), ((6, 6), (6, 6)), 2) * np.float32(scale)
    found = find(w)
    assert isinstance(found, KroneckerSum) and found.terms == 2


def test_tolerance_takes_the_fewest_terms_within():
    random = np.random.default_rng(3)
    factors = ((8, 6), (6, 8))
    w = summed(random, factors, 3)
    noise = random.standard_normal(w.shape)
    w = w + 0.02 * noise * np.linalg.norm(w) / np.linalg.norm(noise)
    found = find(w, tolerance=0.03)
    assert isinstance(found, KroneckerSum)
    assert (found.factors, found.terms) == (factors, 3) and 0.01 < found.error < 0.02
    assert find(w) is None
    again = confirm(w, found.name, 1, found, 1.01 * found.error)
    assert isinstance(again, KroneckerSum) and again.terms == 3
    assert confirm(w, found.name, 1, found, 0.5 * found.error) is None
