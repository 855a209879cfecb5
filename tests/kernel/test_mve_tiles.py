"""How products of floats become tiles of outer products on a core with MVE."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tvm_kp.kernel.float_product import FloatProduct
from tvm_kp.kernel.mve_tiles import mve_tiles_of
from tvm_kp.kernel.space import Choose

Products = Callable[..., FloatProduct | None]


@pytest.mark.parametrize(
    ("shape", "weights", "expected"),
    [
        ((1, 128, 472), 1, "1x7"),
        ((1, 118, 12), 1, "1x3"),
        ((2, 8, 59), 1, "2x3"),
        ((20, 17, 4), 0, "7x1"),
        ((8, 16, 8), 0, "4x1"),
        ((6, 9, 2), 0, "6x1"),
        ((12, 7, 15), 1, "stationary"),
    ],
)
def test_sizes(
    float_product: Products, shape: tuple[int, int, int], weights: int, expected: str
) -> None:
    found = float_product(*shape, weights)
    assert found is not None and str(mve_tiles_of(found, Choose())) == expected


def test_weights_lie_as_tiles_read_them(float_product: Products) -> None:
    found = float_product(5, 2, 3, 0)
    assert found is not None
    tiles = mve_tiles_of(found, Choose())
    assert tiles.rows == 5 and tiles.packing is not None
    values = np.arange(10, dtype="float32").reshape(5, 2)
    np.testing.assert_array_equal(tiles.packing.apply(values), values.T.ravel())
    found = float_product(1, 2, 5, 1)
    assert found is not None
    tiles = mve_tiles_of(found, Choose())
    assert tiles.vectors == 2 and tiles.packing is not None
    padded = np.pad(np.arange(10.0).reshape(2, 5), [(0, 0), (0, 3)])
    np.testing.assert_array_equal(
        tiles.packing.apply(np.arange(10.0).reshape(2, 5)), padded.ravel()
    )
