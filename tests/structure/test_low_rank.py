"""Low rank: the least that is exact, where it pays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_kp.structure import LowRank, confirm, find
from tvm_kp.structure.low_rank import MOST

seeds = st.integers(0, 2**32 - 1)


def low(random, rows, cols, rank, blocks=1):
    def draw(*shape):
        return random.standard_normal(shape).astype(np.float32)

    return np.concatenate([draw(rows, rank) @ draw(rank, cols) for _ in range(blocks)])


@settings(max_examples=100)
@given(*[st.integers(12, 60)] * 2, st.integers(2, 8), st.sampled_from([1, 2, 4]), seeds)
def test_finds_the_rank(rows, cols, rank, blocks, seed):
    w = low(np.random.default_rng(seed), rows, cols, rank, blocks)
    found = find(w, blocks)
    macs = blocks * rank * (rows + cols)
    if macs >= w.size:
        assert found is None
        return
    assert isinstance(found, LowRank)
    assert (found.rank, found.macs, found.nbytes) == (rank, macs, 4 * macs)
    assert found.factors == ((rows, rank), (rank, cols)) and found.shape == w.shape
    np.testing.assert_allclose(
        np.concatenate(list(found.u.astype(float) @ found.v)), w, rtol=0, atol=1e-4
    )
    assert found.error < 1e-6


@settings(max_examples=30)
@given(st.integers(2, 6), st.sampled_from([1e-3, 1e-4]), st.booleans(), seeds)
def test_near_misses_stay_dense(rank, by, noise, seed):
    random = np.random.default_rng(seed)
    w = low(random, 40, 30, rank)
    if noise:
        w *= 1 + by * random.standard_normal(w.shape).astype(np.float32)
    else:
        w.flat[np.abs(w).argsort(axis=None)[random.integers(w.size // 2, w.size)]] *= 1 + by
    assert find(w) is None


def test_gates_of_different_rank():
    random = np.random.default_rng(0)
    w = np.concatenate([low(random, 30, 20, rank) for rank in (2, 4, 3)])
    found = find(w, 3)
    assert isinstance(found, LowRank) and found.rank == 4


@pytest.mark.parametrize("rank", [1, 8, MOST])
def test_large_matrix(rank):
    w = low(np.random.default_rng(1), 600, 700, rank)
    found = find(w)
    assert found is not None and found.macs == rank * (600 + 700)
    assert isinstance(found, LowRank) == (rank > 1)


def test_tolerance_takes_the_least_rank_within():
    random = np.random.default_rng(2)
    w = low(random, 50, 40, 5, 2)
    noise = random.standard_normal(w.shape)
    w = w + 0.02 * noise * np.linalg.norm(w) / np.linalg.norm(noise)
    found = find(w, 2, tolerance=0.03)
    assert isinstance(found, LowRank) and found.rank == 5 and 0.01 < found.error < 0.02
    assert find(w, 2) is None
    again = confirm(w, found.name, 2, found, 1.01 * found.error)
    assert isinstance(again, LowRank) and again.rank == 5
    assert confirm(w, found.name, 2, found, 0.5 * found.error) is None
