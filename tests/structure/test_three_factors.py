"""Products of three factors: found where they are cheaper than two."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_kp.structure import ThreeFactors, confirm, find
from tvm_kp.structure.three_factors import ORDERS, macs, order_of

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 5)
shapes = st.tuples(*[st.tuples(sizes, sizes)] * 3)


def product(random, factors, blocks=1):
    def gate():
        a, b, c = (random.standard_normal(shape).astype(np.float32) for shape in factors)
        return np.kron(a, np.kron(b, c))

    return np.concatenate([gate() for _ in range(blocks)])


@settings(max_examples=100)
@given(shapes, st.sampled_from([1, 3, 4]), seeds)
def test_finds_three_factors(factors, blocks, seed):
    w = product(np.random.default_rng(seed), factors, blocks)
    found = find(w, blocks)
    assert found is not None and found.macs <= blocks * macs(factors, order_of(factors))
    if not isinstance(found, ThreeFactors):
        return
    assert found.factors == factors and found.shape == w.shape and found.error < 1e-6
    assert found.nbytes == 4 * blocks * sum(m * n for m, n in factors)
    parts = zip(found.a, found.b, found.c, strict=True)
    again = np.concatenate([np.kron(a, np.kron(b, c)) for a, b, c in parts])
    np.testing.assert_allclose(again, w, rtol=1e-6)


@given(shapes)
def test_macs_are_counted(factors):
    for order in ORDERS:
        x, total = np.ones([n for _, n in factors]), 0
        for axis in map("abc".index, order):
            total += x.size * factors[axis][0]
            x = np.moveaxis(np.tensordot(np.ones(factors[axis]), x, (1, axis)), 0, axis)
        assert macs(factors, order) == total
    assert macs(factors, order_of(factors)) == min(macs(factors, order) for order in ORDERS)


@settings(max_examples=20)
@given(st.sampled_from([1, 4]), seeds)
def test_a_changed_entry_is_not_exact(blocks, seed):
    random = np.random.default_rng(seed)
    w = product(random, ((4, 4), (4, 3), (3, 4)), blocks)
    w.flat[random.integers(w.size)] *= 1.0001
    assert find(w, blocks) is None and find(w) is None


def test_tolerance():
    random = np.random.default_rng(0)
    factors = ((4, 4), (4, 4), (4, 4))
    w = product(random, factors)
    noise = random.standard_normal(w.shape)
    w = w + 0.02 * noise * np.linalg.norm(w) / np.linalg.norm(noise)
    found = find(w, tolerance=0.05)
    assert isinstance(found, ThreeFactors) and 0.01 < found.error < 0.03
    assert find(w) is None
    assert isinstance(confirm(w, found.name, 1, found, 1.01 * found.error), ThreeFactors)
    assert confirm(w, found.name, 1, found, 0.5 * found.error) is None
