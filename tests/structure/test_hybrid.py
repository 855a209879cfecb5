"""Dense rows above a product: the split is found, and damaged products are not taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tvm_kp import kronecker
from tvm_kp.structure import Hybrid, confirm, find
from tvm_kp.structure.base import EXACT, ULP

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(*[st.tuples(st.integers(1, 8), st.integers(1, 8))] * 2)


def hybrid(random, factors, split, blocks=1):
    def draw(*shape):
        return random.standard_normal(shape).astype(np.float32)

    def gate():
        below = kronecker.kron(*(draw(*shape) for shape in factors))
        return np.concatenate([draw(split, below.shape[1]), below])

    return np.concatenate([gate() for _ in range(blocks)])


def cost(factors, split, blocks):
    (m1, n1), (m2, n2) = factors
    dense = split * n1 * n2
    macs = blocks * (dense + kronecker.macs(factors, kronecker.order_of(factors)))
    return macs, 4 * blocks * (dense + m1 * n1 + m2 * n2)


@settings(max_examples=100)
@given(shapes, st.integers(1, 9), st.sampled_from([1, 3, 4]), seeds)
def test_finds_the_split(factors, split, blocks, seed):
    assume((1, 1) not in factors)
    w = hybrid(np.random.default_rng(seed), factors, split, blocks)
    macs, nbytes = cost(factors, split, blocks)
    found = find(w, blocks)
    if macs >= w.size or nbytes >= w.nbytes:
        assert found is None
        return
    assert isinstance(found, Hybrid)
    # A product of rank one has two forms.
    assert sorted(found.factors) == sorted(factors)
    assert (found.split_row, found.blocks) == (split, blocks)
    assert (found.macs, found.nbytes, found.shape) == (macs, nbytes, w.shape)
    gates = w.reshape(blocks, -1, w.shape[1])
    np.testing.assert_array_equal(found.top, gates[:, :split])
    for gate, a, b in zip(gates, found.below.a, found.below.b, strict=True):
        np.testing.assert_allclose(np.kron(a, b), gate[split:], rtol=EXACT * ULP)


@settings(max_examples=30)
@given(st.sampled_from([1, 4]), st.integers(0, 6), st.floats(0, 1), seeds)
def test_a_changed_entry_makes_no_dense_rows(blocks, split, place, seed):
    random = np.random.default_rng(seed)
    w = hybrid(random, ((4, 6), (5, 4)), split, blocks)
    row = random.integers(blocks) * (split + 20) + split + int(19 * place)
    w[row, random.integers(24)] *= 1.0001
    for count in (1, 2, 4):
        if len(w) % count == 0:
            assert find(w, count) is None


@settings(max_examples=20)
@given(st.sampled_from([1e-3, 1e-5]), seeds)
def test_noise_is_not_exact(noise, seed):
    random = np.random.default_rng(seed)
    w = hybrid(random, ((4, 6), (5, 4)), 3)
    assert find(w * (1 + noise * random.standard_normal(w.shape))) is None


def test_rows_of_zeros():
    w = hybrid(np.random.default_rng(0), ((4, 6), (5, 4)), 4)
    w[[0, 2]] = 0
    w[4::5] = 0  # B's first row
    found = find(w)
    assert isinstance(found, Hybrid) and found.split_row == 4


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_extreme_scales(scale):
    w = hybrid(np.random.default_rng(1), ((4, 6), (5, 4)), 4) * np.float32(scale)
    assert isinstance(find(w), Hybrid)


def test_confirm_needs_the_same_split():
    w = hybrid(np.random.default_rng(2), ((4, 6), (5, 4)), 4, 2)
    found = find(w, 2)
    assert isinstance(found, Hybrid)
    assert isinstance(confirm(w, found.name, 2, found, 1e-6), Hybrid)
    assert confirm(w[4:44], found.name, 2, found) is None
