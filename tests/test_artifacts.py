"""Packings are what they say; the other values are tested where they are made."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.artifacts import Packing


def test_tiles_of_a_padded_matrix() -> None:
    packing = Packing(shape=(3, 2), pad=(1, 0), parts=(2, 2, 2), order=(0, 2, 1))
    array = np.arange(1, 7, dtype="int8").reshape(3, 2)
    packed = packing.apply(array)
    np.testing.assert_array_equal(packed, np.array([1, 3, 2, 4, 5, 0, 6, 0], "int8"), strict=True)
    assert packing.size == packed.size


def test_an_array_is_broadcast_first() -> None:
    packing = Packing(shape=(2, 3), pad=(0, 1), parts=(2, 4), order=(1, 0))
    column = np.array([[1], [2]], "int32")
    np.testing.assert_array_equal(packing.apply(column), [1, 2, 1, 2, 1, 2, 0, 0])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_nothing_is_lost(parts: list[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(parts))))
    packing = Packing(tuple(parts), (0,) * len(parts), tuple(parts), tuple(order))
    packed = packing.apply(np.arange(packing.size).reshape(parts))
    back = packed.reshape([parts[axis] for axis in order]).transpose(np.argsort(order))
    np.testing.assert_array_equal(back.ravel(), np.arange(packing.size))


def test_a_packing_survives_json() -> None:
    packing = Packing((5, 3), (1, 1), (3, 2, 2, 2), (0, 2, 1, 3))
    assert Packing.from_dict(json.loads(json.dumps(asdict(packing)))) == packing
