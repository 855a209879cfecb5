"""Products with few entries added: the entries are found, and changes are not taken for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_kp import kronecker
from tvm_kp.structure import Doped, confirm, find
from tvm_kp.structure.doped import MOST

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(4, 9)


def doped(random, factors, blocks, count):
    def draw(*shape):
        return random.standard_normal(shape).astype(np.float32)

    w = np.concatenate(
        [kronecker.kron(*(draw(*shape) for shape in factors)) for _ in range(blocks)]
    )
    places = random.permutation(w.size)[:count]
    w.flat[places] += (np.float32(0.1) + np.abs(draw(count))) * random.choice([-1, 1], count)
    return w


@settings(max_examples=100)
@given(
    st.tuples(*[st.tuples(sizes, sizes)] * 2),
    st.sampled_from([1, 3, 4]),
    st.floats(0, 1),
    seeds,
)
def test_finds_the_entries(factors, blocks, share, seed):
    (m1, n1), (m2, n2) = factors
    count = 1 + int(share * 0.75 * MOST * blocks * m1 * m2 * n1 * n2)
    w = doped(np.random.default_rng(seed), factors, blocks, count)
    macs = blocks * kronecker.macs(factors, kronecker.order_of(factors)) + count
    nbytes = 4 * blocks * (m1 * n1 + m2 * n2) + 8 * count
    found = find(w, blocks)
    if macs >= w.size or nbytes >= w.nbytes:
        assert found is None
        return
    assert isinstance(found, Doped)
    assert (found.factors, found.nonzeros, found.blocks) == (factors, count, blocks)
    assert (found.macs, found.nbytes, found.shape) == (macs, nbytes, w.shape)
    pairs = zip(found.kept.a.astype(float), found.kept.b, strict=True)
    again = np.concatenate([np.kron(a, b) for a, b in pairs])
    again[found.rows, found.columns] += found.values
    np.testing.assert_allclose(again, w, rtol=1e-6, atol=1e-5)


@settings(max_examples=30)
@given(st.integers(1, 12), st.sampled_from([1e-3, 1e-4]), st.sampled_from([1, 4]), seeds)
def test_changed_entries_are_no_doping(count, by, blocks, seed):
    random = np.random.default_rng(seed)
    w = doped(random, ((6, 5), (5, 6)), blocks, 0)
    w.flat[random.permutation(w.size)[:count]] *= 1 + by
    assert find(w, blocks) is None


@settings(max_examples=20)
@given(st.sampled_from([1e-3, 1e-5]), seeds)
def test_noise_is_not_exact(noise, seed):
    random = np.random.default_rng(seed)
    w = doped(random, ((6, 5), (5, 6)), 1, 9)
    assert find(w * (1 + noise * random.standard_normal(w.shape))) is None


@settings(max_examples=30)
@given(st.integers(1, 48), st.integers(1, 48), st.floats(0, 1), seeds)
def test_nothing_in_sparse_matrices(rows, cols, share, seed):
    random = np.random.default_rng(seed)
    w = random.standard_normal((rows, cols)) * (random.random((rows, cols)) < share)
    found = find(w)
    assert not isinstance(found, Doped)


@pytest.mark.parametrize(("rows", "index"), [(127, np.int16), (33001, np.int32)])
def test_indices_are_as_wide_as_they_must_be(rows, index):
    random = np.random.default_rng(0)
    w = np.kron(random.standard_normal((rows, 1)), random.standard_normal((1, 12)))
    w[[3, rows - 1, 7], [0, 11, 5]] += 1
    found = find(w)
    assert isinstance(found, Doped) and found.nonzeros == 3
    assert found.rows.dtype == found.columns.dtype == index
    assert found.nbytes == 4 * (rows + 12) + 3 * (4 + 2 * np.dtype(index).itemsize)


def test_more_than_few_entries():
    w = doped(np.random.default_rng(1), ((8, 8), (8, 8)), 1, int(4096 * MOST) + 1)
    assert find(w) is None


def test_confirm_finds_it_again():
    w = doped(np.random.default_rng(2), ((6, 5), (5, 6)), 4, 30)
    found = find(w, 4)
    assert isinstance(found, Doped)
    again = confirm(w, found.name, 4, found, 1.01 * found.error)
    assert isinstance(again, Doped) and again.nonzeros == 30
