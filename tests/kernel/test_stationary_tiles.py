"""How products of floats with short sums become panels on a core with MVE."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tvm import s_tir

from tvm_kp.kernel.float_product import FloatProduct
from tvm_kp.kernel.outer_loops import outer_loops
from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.stationary_tiles import stationary_tiles

Products = Callable[..., FloatProduct | None]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((11, 4, 14), ["stationary2", "stationary4"]),
        ((4, 4, 8), ["stationary1", "stationary2"]),
        ((3, 2, 17), ["stationary3"]),
        ((1, 4, 8), []),
        ((9, 4, 3), []),
        ((9, 14, 4), ["stationary1"]),
        ((9, 15, 4), []),
    ],
)
def test_no_panel_lacks_lanes_or_takes_many_passes(
    float_product: Products, shape: tuple[int, int, int], expected: list[str]
) -> None:
    found = float_product(*shape, 1)
    assert found is not None
    assert list(map(str, stationary_tiles(found))) == expected


def test_panels_are_called_side_by_side(float_product: Products) -> None:
    found = float_product(3, 2, 29, 1)
    assert found is not None
    tiles = next(one for one in stationary_tiles(found) if one.vectors == 3)
    function = outer_loops(tiles.chosen(Choose()))
    text = s_tir.Schedule(function).mod["main"].script()
    assert "kp_stationary3x12_2x29_none_1" in text and "kp_stationary3x5_2x29_none_1" in text
    assert tiles.packing is None
