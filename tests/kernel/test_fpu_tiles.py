"""How products of floats become tiles of outer products on a core with a scalar FPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_kp.kernel.float_product import FloatProduct
from tvm_kp.kernel.fpu_tiles import REGISTERS, FpuTiles, fpu_tiles_of
from tvm_kp.kernel.space import Choose, every

Products = Callable[..., FloatProduct | None]


def of(product: FloatProduct | None, choose: Choose) -> FpuTiles:
    assert product is not None
    return fpu_tiles_of(product, choose)


@pytest.mark.parametrize(
    ("shape", "constants", "expected", "loads"),
    [
        ((1, 128, 472), (1,), "1x8", "8+2"),
        ((20, 17, 4), (0,), "4x4", "2+2"),
        ((48, 15, 12), (0,), "1x12", "7+1"),
        ((12, 12, 15), (1,), "2x5", "6+2"),
        ((1, 64, 25), (), "1x13", "3+1"),
        ((1, 720, 257), (1,), "1x6", "6+3"),
    ],
)
def test_sizes(
    float_product: Products,
    shape: tuple[int, int, int],
    constants: tuple[int, ...],
    expected: str,
    loads: str,
) -> None:
    tiles = of(float_product(*shape, *constants), Choose())
    assert (str(tiles), tiles.loads) == (expected, loads)


@settings(max_examples=4)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    constants=st.sampled_from([(), (0,), (1,)]),
)
def test_every_way_fits_the_registers(
    float_product: Products, shape: tuple[int, int, int], constants: tuple[int, ...]
) -> None:
    found, several = float_product(*shape, *constants), []
    for _ in every(lambda choose: several.append(of(found, choose))):
        tiles = several[-1]
        assert tiles.registers <= REGISTERS
        assert tiles.rows <= shape[0] and tiles.columns <= shape[2]
        assert max(tiles.scalar_steps, tiles.vector_steps) <= shape[1]
    assert len(set(several)) == len(several) <= 6 * 4 * 4


def test_little_is_packed_beside_the_weights(float_product: Products) -> None:
    for columns in range(1, 80, 3):
        tiles = of(float_product(1, 8, columns, 1), Choose())
        assert tiles.packing is not None and tiles.packing.size <= 1.1 * 8 * columns
