"""How products of floats become tiles of outer products."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tvm import s_tir, te

from tvm_kp.artifacts import CONSTANTS
from tvm_kp.kernel.float_product import FloatProduct, find_float_product
from tvm_kp.kernel.outer_tiles import outer_tiles_of
from tvm_kp.kernel.space import Choose


def product(rows: int, depth: int, columns: int, *constants: int) -> FloatProduct | None:
    """Of operands 0 and 1."""
    a, b = te.placeholder((rows, depth), name="a"), te.placeholder((depth, columns), name="b")
    k = te.reduce_axis((0, depth), "k")
    c = te.compute((rows, columns), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    function = te.create_prim_func([a, b, c]).with_attr(CONSTANTS, json.dumps(constants))
    return find_float_product(s_tir.Schedule(function))


@pytest.mark.parametrize(
    ("shape", "weights", "expected"),
    [
        ((1, 128, 472), 1, "1x7"),
        ((1, 118, 12), 1, "1x3"),
        ((2, 8, 59), 1, "2x3"),
        ((20, 17, 4), 0, "7x1"),
        ((8, 16, 8), 0, "4x1"),
        ((6, 9, 2), 0, "6x1"),
    ],
)
def test_sizes(shape: tuple[int, int, int], weights: int, expected: str) -> None:
    found = product(*shape, weights)
    assert found is not None and str(outer_tiles_of(found, Choose())) == expected


def test_there_must_be_a_constant() -> None:
    assert product(5, 6, 7) is None


def test_weights_lie_as_tiles_read_them() -> None:
    found = product(5, 2, 4, 0)
    assert found is not None
    tiles = outer_tiles_of(found, Choose())
    assert tiles.rows == 5
    values = np.arange(10, dtype="float32").reshape(5, 2)
    np.testing.assert_array_equal(tiles.packing.apply(values), values.T.ravel())
    found = product(1, 2, 5, 1)
    assert found is not None
    tiles = outer_tiles_of(found, Choose())
    assert tiles.vectors == 2
    padded = np.pad(np.arange(10.0).reshape(2, 5), [(0, 0), (0, 3)])
    np.testing.assert_array_equal(
        tiles.packing.apply(np.arange(10.0).reshape(2, 5)), padded.ravel()
    )
