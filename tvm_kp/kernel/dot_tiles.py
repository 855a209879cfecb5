"""How a product of integers is cut into tiles of dot products, for a core with MVE."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tvm_kp.kernel.integer_product import IntegerProduct
from tvm_kp.kernel.product_tiles import Packed, Tiling, packed_rows
from tvm_kp.kernel.space import Choose

_LONG = 64  # numbers, from which on the zeros that fill a block of 16 are few
_KEPT = 4  # vectors of activations, beside which all others fit
_MOST_UNROLLED = 8  # columns of tiles


@dataclass(frozen=True)
class DotTiles(Tiling):
    """Tiles go down a column of tiles; ``lanes`` products are one instruction.

    Activations may be ``kept`` in vectors for all of the tiles. A trip around the loop computes
    ``trip`` tiles; ``unrolled`` columns of tiles are written out one after the other.
    """

    lanes: int
    kept: bool = False
    trip: int = 1
    unrolled: bool = False

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
        """Whether activations have to be copied, because they are apart, and are not gathered."""
        return self._apart and (not self.kept or self.lanes == 16)

    @property
    def gathered(self) -> bool:
        """Whether activations that are kept are loaded from places that are apart."""
        return self.kept and self._apart and not self.copied

    @property
    def tail(self) -> int:
        """Numbers in the last block of activations, 0 if it is full or filled with zeros."""
        return 0 if self.copied else self.product.depth % self.lanes

    @property
    def _apart(self) -> bool:
        return self.product.activations.depth > 1

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
    tiles = DotTiles(product, rows, columns, _lanes(product, rows, choose))
    if tiles.lanes == 4:
        tiles = replace(tiles, kept=True)
    elif rows == 4 and tiles.blocks * columns <= _KEPT and (tiles.down > 1 or tiles.copied):
        kept = choose("activations", ("loaded", "kept"), "kept")
        tiles = replace(tiles, kept=kept == "kept")
    if tiles.down > 1:
        tiles = replace(tiles, trip=choose("trip", (1, 2, 4) if tiles.down > 2 else (1, 2), 1))
    if 1 < product.columns // columns <= _MOST_UNROLLED:
        across = choose("across", ("looped", "unrolled"), "looped")
        tiles = replace(tiles, unrolled=across == "unrolled")
    return tiles


def _lanes(product: IntegerProduct, rows: int, choose: Choose) -> int:
    """How many products are one instruction."""
    offered = [8]
    if product.activations.dtype == "int8":
        few_zeros = -product.depth % 16 < 8 or product.depth >= _LONG
        offered = [16, 8] if few_zeros else [8, 16]
    if rows == 4 and product.depth <= 4:
        offered = [4, *offered]
    return choose("lanes", tuple(sorted(offered)), offered[0]) if len(offered) > 1 else offered[0]


def packed_blocks(tiles: DotTiles) -> Packed:
    """Weights tile by tile, ``lanes`` neighbors along the sum of every row."""
    rows, depth = (tiles.down, tiles.rows), (tiles.blocks, tiles.lanes)
    return packed_rows(tiles, rows, depth, "r0 k0 r1 k1")
