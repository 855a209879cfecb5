"""How a product of integers is cut into tiles of dot products, for a core with MVE."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_kp.kernel.integer_product import IntegerProduct
from tvm_kp.kernel.product_tiles import Packed, Tiling, packed_rows

_LONG = 64  # numbers, from which on the zeros that fill a block of 16 are few


@dataclass(frozen=True)
class DotTiles(Tiling):
    """Tiles go down a column of tiles; ``lanes`` products are one instruction."""

    lanes: int

    @property
    def order(self) -> str:
        return "c0 r0 c1 r1"

    @property
    def blocks(self) -> int:
        return -(-self.product.depth // self.lanes)

    @property
    def bits(self) -> int:
        """How wide activations are."""
        return 8 if self.product.activations.dtype == "int8" else 16

    @property
    def copied(self) -> bool:
        """Whether activations have to be copied, because they are apart or do not fill blocks."""
        return self.product.activations.depth != 1 or self.product.depth % self.lanes > 0

    @property
    def column(self) -> int:
        """How far apart columns of activations are that are multiplied."""
        return self.blocks * self.lanes if self.copied else self.product.activations.column

    @property
    def panel(self) -> int:
        words = self.blocks * self.lanes * self.columns * self.bits // 16
        fitting = max(self.columns, self.fitting(words)) if self.copied else self.product.columns
        return min(self.product.columns, fitting)


def dot_tiles_of(product: IntegerProduct) -> DotTiles:
    """The tiles for the shape of a product."""
    columns = min(2, product.columns)
    # Eight rows of one column, or four of two: no more sums fit. Eight where that costs no flash.
    rows = 8 if columns == 1 and -product.rows % 8 < 4 else 4
    wide = product.activations.dtype == "int8"
    few_zeros = -product.depth % 16 < 8 or product.depth >= _LONG
    return DotTiles(product, rows, columns, lanes=16 if wide and few_zeros else 8)


def packed_blocks(tiles: DotTiles) -> Packed:
    """Weights tile by tile, ``lanes`` neighbors along the sum of every row."""
    rows, depth = (tiles.down, tiles.rows), (tiles.blocks, tiles.lanes)
    return packed_rows(tiles, rows, depth, "r0 k0 r1 k1")
