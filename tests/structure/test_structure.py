"""All kinds together: nothing in random numbers, and the cheapest of what is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_kp.structure import KINDS, confirm, find

seeds = st.integers(0, 2**32 - 1)
DRAWS = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "positive": lambda random, shape: random.uniform(0.5, 1, shape),
    "cauchy": lambda random, shape: random.standard_cauchy(shape),
    "decades": lambda random, shape: np.exp(8 * random.standard_normal(shape)),
    "huge or not": lambda random, shape: (
        random.standard_normal(shape) + random.choice([0.0, 1e6], shape)
    ),
}


@settings(max_examples=500)
@given(
    st.integers(1, 48),
    st.integers(1, 48),
    st.sampled_from([1, 2, 4]),
    st.sampled_from(sorted(DRAWS)),
    seeds,
)
def test_nothing_in_random_numbers(rows, cols, blocks, kind, seed):
    w = DRAWS[kind](np.random.default_rng(seed), (rows * blocks, cols))
    assert find(w.astype(np.float32), blocks) is None


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=30)
@given(st.sampled_from([1, 2, 4]), seeds)
def test_every_kind_is_found_and_confirmed(structured, name, blocks, seed):
    w = structured(name, np.random.default_rng(seed), blocks)
    found = find(w, blocks)
    assert found is not None and (found.name, found.blocks) == (name, blocks)
    assert found.shape == w.shape and found.pays and found.error < 1e-6
    again = confirm(w, name, blocks, found, 1.01 * found.error)
    assert again is not None and again.cost == found.cost
    assert confirm(np.random.default_rng(seed).permuted(w), name, blocks, found) is None


@pytest.mark.parametrize("name", [name for name in KINDS if name != "doped"])
@settings(max_examples=10)
@given(seeds)
def test_a_changed_entry_leaves_it_dense(structured, name, seed):
    random = np.random.default_rng(seed)
    w = structured(name, random)
    # Not one so small that the change is less than what float32 rounds in a sum.
    changed = random.choice(np.flatnonzero(np.abs(w) > np.median(np.abs(w))))
    w.flat[changed if name != "hybrid" else max(changed, 4 * 36)] *= 1.0001
    assert find(w) is None


def test_the_simpler_one_of_equal_cost():
    random = np.random.default_rng(0)
    w = np.outer(random.standard_normal(20), random.standard_normal(30))
    found = find(w)
    assert found is not None and found.name == "kronecker" and found.macs == 50
