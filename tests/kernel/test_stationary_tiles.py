"""How products of floats with short sums become panels on a core with MVE."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tvm import s_tir

from tvm_kp.kernel.float_product import FloatProduct
from tvm_kp.kernel.outer_loops import outer_loops
from tvm_kp.kernel.stationary_tiles import stationary_tiles

Products = Callable[..., FloatProduct | None]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((11, 4, 14), ["stationary"]),
        ((3, 2, 17), ["stationary"]),
        ((1, 4, 8), []),
        ((9, 4, 3), ["stationary"]),
        ((9, 14, 4), ["stationary"]),
        ((9, 15, 4), []),
    ],
)
def test_none_takes_many_passes(
    float_product: Products, shape: tuple[int, int, int], expected: list[str]
) -> None:
    found = float_product(*shape, 1)
    assert found is not None
    assert list(map(str, stationary_tiles(found))) == expected


def test_a_call_computes_all(float_product: Products) -> None:
    found = float_product(3, 2, 29, 1)
    assert found is not None
    (tiles,) = stationary_tiles(found)
    text = s_tir.Schedule(outer_loops(tiles)).mod["main"].script()
    assert text.count("kp_stationary_3x2x29_none_144") == 1 and "for " not in text
    assert tiles.packing is None
