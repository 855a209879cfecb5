"""How a product of integers is cut into tiles of dot products, for a core with MVE."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tvm_kp.kernel.integer_product import IntegerProduct
from tvm_kp.kernel.product_tiles import Packed, Tiling, packed_rows
from tvm_kp.kernel.space import Choose

_LONG = 64  # numbers, from which on the zeros that fill a block of 16 are few
_KEPT = 4  # vectors of activations, beside which all others fit


@dataclass(frozen=True)
class DotTiles(Tiling):
    """Tiles go down a column of tiles; ``lanes`` products are one instruction.

    Activations may be ``kept`` in vectors for all of the tiles. A trip around the loop computes
    ``trip`` tiles.
    """

    lanes: int
    kept: bool = False
    trip: int = 1

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


def dot_tiles_of(product: IntegerProduct, choose: Choose) -> DotTiles:
    """The tiles that are chosen for a product."""
    # Eight rows of one column, or four of two: no more sums fit. Of eight, only the last four may
    # lack.
    sizes = ["4x1", *(["8x1"] if -product.rows % 8 < 4 else []), "4x2"]
    offered = sizes if product.columns > 1 else sizes[:-1]
    default = offered[-1]
    rows, columns = map(int, choose("tile", offered, default).split("x"))
    lanes = 8
    if product.activations.dtype == "int8":
        few_zeros = -product.depth % 16 < 8 or product.depth >= _LONG
        lanes = choose("lanes", (8, 16), 16 if few_zeros else 8)
    tiles = DotTiles(product, rows, columns, lanes)
    if rows == 4 and tiles.down > 1 and tiles.blocks * columns <= _KEPT:
        kept = choose("activations", ("loaded", "kept"), "kept")
        tiles = replace(tiles, kept=kept == "kept")
    if tiles.down > 1:
        tiles = replace(tiles, trip=choose("trip", (1, 2, 4) if tiles.down > 2 else (1, 2), 1))
    return tiles


def packed_blocks(tiles: DotTiles) -> Packed:
    """Weights tile by tile, ``lanes`` neighbors along the sum of every row."""
    rows, depth = (tiles.down, tiles.rows), (tiles.blocks, tiles.lanes)
    return packed_rows(tiles, rows, depth, "r0 k0 r1 k1")
