"""How a product of integers is cut into tiles of dot products, for a core with MVE."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tvm_kp.kernel.integer_product import IntegerProduct
from tvm_kp.kernel.product_tiles import Packed, Tiling, packed_rows
from tvm_kp.kernel.space import Choose

_LONG = 64  # numbers, from which on the zeros that fill a block of 16 are few
_KEPT = 4  # vectors of activations, beside which all others fit
_BY_SCALARS = 2  # products behind the last block that are not worth one of their own
_SQUARES = 5  # instructions that know where squares of sums are
_FEW_ROWS = 22  # of which groups of eight weights are near each other
_TRIPS = (1, 2, 4, 8)
# Instructions that are written out, about: of a whole block; in loops, usually and at most.
_WHOLE, _USUALLY_WRITTEN, _MOST_WRITTEN = 192, 128, 1024


@dataclass(frozen=True)
class DotTiles(Tiling):
    """Tiles go down a column of tiles; ``lanes`` products are one instruction.

    Activations may be ``kept`` in vectors for all of the tiles. A trip around a loop computes
    ``trip`` tiles, ``written`` columns of tiles, and ``together`` blocks of a batch.
    """

    lanes: int
    kept: bool = False
    trip: int = 1
    written: int = 1
    together: int = 1

    @property
    def order(self) -> str:
        return "c0 r0 c1 r1"

    @property
    def repeated(self) -> int:
        return 2 if self.rows == 2 else 1  # in a vector of two columns

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
        return self._apart and not self.gathered

    @property
    def gathered(self) -> bool:
        """Whether activations that are kept are loaded from places that are apart."""
        # Offsets are as wide as what is loaded. Other tiles would gather them again and again.
        near = self.lanes < 16 or 15 * self.product.activations.depth < 2**8
        return self._apart and self.kept and near

    @property
    def _apart(self) -> bool:
        return self.product.activations.depth > 1

    @property
    def column(self) -> int:
        """How far apart columns of activations are that are multiplied."""
        return self.blocks * self.lanes if self.copied else self.product.activations.column

    @property
    def step(self) -> int:
        """How far apart the numbers of such a column are."""
        return self.product.activations.depth if self.gathered else 1

    @property
    def by_rows(self) -> bool:
        """Whether weights lie group by group for all rows, which takes fewer zeros: where the next
        group is near."""
        lacks = -self.product.rows % self.rows >= 4
        return lacks and (self.whole_rows - self.rows + 1) * self.lanes < 2**7

    @property
    def whole_rows(self) -> int:
        """Rows of weights that lie by rows, and zeros where a vector would lack some."""
        return -(-self.product.rows // 4) * 4

    @property
    def inside(self) -> int | None:
        """The axis of blocks that are computed by one call, as their activations are at hand."""
        product = self.product
        several = [axis for axis, extent in enumerate(product.batch) if extent > 1]
        shared = [axis for axis in several if not product.activations.batch[axis]]
        return next(reversed(shared if self.copied else several), None)

    @property
    def panel(self) -> int:
        words = self.blocks * self.lanes * self.columns * self.bits // 16
        fitting = max(self.columns, self.fitting(words)) if self.copied else self.product.columns
        return min(self.product.columns, fitting)

    @property
    def instructions(self) -> int:
        """About how many compute a tile."""
        sums = self.rows * self.columns
        return self.blocks * (sums + self.rows + self.columns) + 12


def dot_tiles_of(product: IntegerProduct, choose: Choose) -> DotTiles:
    """The tiles that are chosen for a product: no more than eight sums fit."""
    rows, columns = map(int, _size(product, choose).split("x"))
    tiles = DotTiles(product, rows, columns, _lanes(product, columns, choose))
    tiles = _with_activations(tiles, choose)
    down, across = product.rows // rows, product.columns // columns
    whole = tiles.instructions * tiles.down * tiles.across
    most = _WHOLE if whole <= _WHOLE else _USUALLY_WRITTEN
    trip, size = _written("trip", down, tiles.instructions, most, choose)
    written, size = _written("across", across, size, most, choose)
    blocks = 1 if tiles.inside is None else product.batch[tiles.inside]
    together, _ = _written("blocks", blocks, size, _USUALLY_WRITTEN, choose)
    return replace(tiles, trip=trip, written=written, together=together)


def _with_activations(tiles: DotTiles, choose: Choose) -> DotTiles:
    kept = replace(tiles, kept=True)
    if tiles.lanes == 4 or tiles.columns == 4:
        return kept
    if tiles.blocks * tiles.columns > _KEPT or (tiles.down == 1 and not tiles.copied):
        return tiles
    scalars = tiles.blocks > 1 and 0 < tiles.product.depth % tiles.lanes <= _BY_SCALARS
    usual = "loaded" if scalars else "kept"
    return kept if choose("activations", ("loaded", "kept"), usual) == "kept" else tiles


def _written(name: str, count: int, size: int, most: int, choose: Choose) -> tuple[int, int]:
    """How many of ``count`` are written out in a loop, some or all, usually ``most`` instructions;
    and about how many all are then, where one is ``size``."""
    few = {n for n in (*_TRIPS, count) if 1 <= n <= count and n * size <= _MOST_WRITTEN} | {1}
    usual = max((n for n in few if n * size <= most), default=1)
    chosen = choose(name, tuple(sorted(few)), usual) if len(few) > 1 else 1
    return chosen, size * (chosen + (count % chosen > 0) + (count % chosen))


def _size(product: IntegerProduct, choose: Choose) -> str:
    if product.columns == 1 and product.rows <= _FEW_ROWS:
        return "8x1" if product.rows > 4 else "4x1"
    if product.columns == 1:
        return choose("tile", ("4x1", "8x1"), "8x1" if -product.rows % 8 < 4 else "4x1")
    if product.columns < 3 or not _is_short(product):
        return "4x2"
    # Weights that are loaded, what vectors of sums cost, and what moves the pointer to results;
    # where these are takes more instructions for squares of sums.
    rows, pairs, across = product.rows, -(-product.columns // 2), -(-product.columns // 4)
    wide = rows * across + -(-rows // 2) * (5 * pairs + across) + _SQUARES
    high = rows * pairs + -(-rows // 4) * product.columns * (6 if product.out.row > 1 else 5)
    return choose("tile", ("4x2", "2x4"), "2x4" if wide < high else "4x2")


def _is_short(product: IntegerProduct) -> bool:
    """Whether a tile can have four columns: a vector of each is kept, and one free."""
    biases = product.bias is None or product.bias.column > 0
    longest = 16 if product.activations.dtype == "int8" else 8
    return biases and product.depth <= longest


def _lanes(product: IntegerProduct, columns: int, choose: Choose) -> int:
    """How many products are one instruction; all of a sum where tiles have four ``columns``."""
    offered = [8]
    if product.activations.dtype == "int8":
        few_zeros = -product.depth % 16 < 8 or product.depth >= _LONG
        offered = [16, 8] if few_zeros else [8, 16]
    if product.depth <= 4:
        offered = [4, *offered]
    if columns == 4:
        offered = [lanes for lanes in offered if product.depth <= lanes]
    return choose("lanes", tuple(sorted(offered)), offered[0]) if len(offered) > 1 else offered[0]


def packed_blocks(tiles: DotTiles) -> Packed:
    """Weights tile by tile, ``lanes`` neighbors along the sum of every row; or all rows' groups."""
    depth = tiles.blocks, tiles.lanes
    if tiles.by_rows:
        return packed_rows(tiles, (tiles.whole_rows,), depth, "k0 r0 k1")
    return packed_rows(tiles, (tiles.down, tiles.rows), depth, "r0 k0 r1 k1")
