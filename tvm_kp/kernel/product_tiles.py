"""How a product of integers is cut into tiles, and how its constants are packed for them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tvm import tirx

from tvm_kp.artifacts import Packing
from tvm_kp.kernel.integer_product import IntegerProduct, Operand
from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.statements import Index

_SIZES = ("4x1", "2x1", "2x2", "2x3")  # of tiles, rows by columns

_SCRATCH_BYTES = 4096  # of activations that are unpacked at a time
_FEW_TILES = 4  # from here on it pays to widen the weights of a row of tiles for all of them
_FEW_WEIGHTS = 2048  # that may lie in flash as int16: twice the bytes, and nothing to unpack
_STRAIGHT = 13  # pairs of products that need no loop
_MANY_STRAIGHT = 33


@dataclass(frozen=True)
class Tiling:
    """Tiles of ``rows`` x ``columns`` sums."""

    product: IntegerProduct
    rows: int
    columns: int

    @property
    def down(self) -> int:
        """Rows of tiles."""
        return -(-self.product.rows // self.rows)

    @property
    def across(self) -> int:
        """Columns of tiles."""
        return -(-self.product.columns // self.columns)

    @property
    @abstractmethod
    def order(self) -> str:
        """In which order tiles (``r0``, ``c0``) and what is in them (``r1``, ``c1``) are read."""

    @property
    @abstractmethod
    def panel(self) -> int:
        """How many columns of activations are unpacked at a time."""

    @property
    def repeated(self) -> int:
        """How often biases or factors that are one for a row lie in those of a tile."""
        return 1

    def fitting(self, words: int) -> int:
        """How many columns of tiles may be unpacked that have ``words`` of int16 each."""
        return _SCRATCH_BYTES // (2 * words) * self.columns


@dataclass(frozen=True)
class Tiles(Tiling):
    """Tiles go ``along`` a row of tiles, or down a column of tiles.

    The ``weights`` are "narrow", int8, or "wide": those of a row of tiles are widened before they
    are used, or "stored" as int16. A trip around the loop computes ``trip`` tiles. Up to
    ``straight`` pairs of products are written out.
    """

    weights: str
    trip: int = 1
    straight: int = _STRAIGHT

    @property
    def along(self) -> bool:
        # There is a loop around what a helper does: of two orders the one with fewer trips.
        return self.weights == "wide" or (self.weights == "stored" and self.across > self.down)

    @property
    def order(self) -> str:
        return "r0 c0 r1 c1" if self.along else "c0 r0 r1 c1"

    @property
    def pairs(self) -> int:
        return -(-self.product.depth // 2)

    @property
    def words(self) -> int:
        """How many int16 the activations of a tile are."""
        return 2 * self.pairs * self.columns

    @property
    def panel(self) -> int:
        return min(self.product.columns, max(2 * self.columns, self.fitting(self.words)))


@dataclass(frozen=True)
class Packed:
    """Constants in the order of the tiles; ``batch`` says how far apart blocks of it are.

    ``form`` is what a tile reads of biases or factors: ``one`` number for all, one for each
    ``row``, or one for each result of the ``tile``; ``down`` and ``across`` say how far apart
    those of neighboring tiles are.
    """

    index: int
    batch: tuple[int, ...]
    packing: Packing | None = None
    form: str = ""
    down: int = 0
    across: int = 0


def tiles_of(product: IntegerProduct, choose: Choose) -> Tiles:
    """The tiles that are chosen for a product."""
    offered = [size for size in _SIZES if _fits(product, size)]
    rows, columns = map(int, choose("tile", offered, _size(product)).split("x"))
    tiles = Tiles(product, rows, columns, "narrow")
    several = 1 < columns < product.columns
    ways = ("narrow", *(["wide"] if several else []), *(["stored"] if _few(product) else []))
    if len(ways) > 1:
        many = several and -(-tiles.panel // columns) >= _FEW_TILES
        tiles = replace(tiles, weights=choose("weights", ways, "wide" if many else "narrow"))
    several = (tiles.across if tiles.along else tiles.down) > 1
    trip = choose("trip", (1, 2), 1) if several else 1
    straight = _STRAIGHT
    if _STRAIGHT < tiles.pairs <= _MANY_STRAIGHT:
        straight = choose("straight", (_STRAIGHT, _MANY_STRAIGHT), _STRAIGHT)
    return replace(tiles, trip=trip, straight=straight)


def _size(product: IntegerProduct) -> str:
    """A good size of tiles: three columns need fewer words than two, if as few of them lack, and
    if all are unpacked at once."""
    if product.columns == 1:
        return "2x1" if product.rows <= 2 else "4x1"
    three = Tiles(product, 2, 3, "narrow")
    whole = three.panel == product.columns > 2
    return "2x3" if whole and -product.columns % 3 <= product.columns % 2 else "2x2"


def _fits(product: IntegerProduct, size: str) -> bool:
    """Whether a tile of ``size`` is more than half full, and has several columns if there are."""
    rows, columns = map(int, size.split("x"))
    return rows - product.rows < 2 and min(2, product.columns) <= columns <= product.columns


def _few(product: IntegerProduct) -> bool:
    """Whether the weights are few enough to be stored in twice the bytes."""
    return math.prod(product.weights.shape) <= _FEW_WEIGHTS


def packed_weights(tiles: Tiles) -> Packed:
    """Tile by tile, for every pair of places in the sum the words of two rows; pairs of int16 for
    each row where the weights are stored so."""
    if tiles.weights == "stored":
        return packed_rows(
            tiles, (tiles.down, tiles.rows), (tiles.pairs, 2), "r0 k0 r1 k1", "int16"
        )
    rows, depth = (tiles.down, tiles.rows // 2, 2), (tiles.pairs, 2)
    return packed_rows(tiles, rows, depth, "r0 k0 r1 k1 r2")


def packed_rows(
    tiles: Tiling,
    rows: tuple[int, ...],
    depth: tuple[int, ...],
    order: str,
    dtype: str | None = None,
) -> Packed:
    """Weights tile by tile; ``rows`` and ``depth`` are the parts that ``order`` is the order of."""
    operand, way = tiles.product.weights, _way(tiles)
    packing = packing_of(operand.shape, (rows, depth)[::way], order, "rk"[::way])
    packing = replace(packing, dtype=dtype)
    step = math.prod(depth) * tiles.rows
    return Packed(operand.index, _blocks(tiles, packing), packing, down=step)


def packed_numbers(tiles: Tiling, operand: Operand, may_be_one: bool) -> Packed:
    """Biases or factors; where there ``may_be_one`` number for all results, it is not packed."""
    if may_be_one and not operand.row and not operand.column:
        return Packed(operand.index, operand.batch, form="one")
    product, each, way = tiles.product, bool(operand.column), _way(tiles)
    rows = (tiles.down, tiles.rows)
    columns = (tiles.across, tiles.columns) if each else (1, tiles.repeated)
    sizes = (product.rows, product.columns if each else tiles.repeated)[::way]
    shape = (*_batch_shape(tiles, operand), *sizes)
    packing = packing_of(shape, (rows, columns)[::way], tiles.order, "rc"[::way])
    step = tiles.rows * columns[1]
    down, across = (columns[0], 1) if tiles.order.startswith("r0") else (1, tiles.down)
    return Packed(
        operand.index,
        _blocks(tiles, packing),
        packing,
        "tile" if each else "row",
        step * down,
        step * across if each else 0,
    )


def _way(tiles: Tiling) -> int:
    """1 if rows are the outer axis of what lies in memory, -1 if they are the inner one."""
    return 1 if tiles.product.rows_first else -1


def _batch_shape(tiles: Tiling, operand: Operand) -> tuple[int, ...]:
    """The batch axes of an operand, as many as the result has."""
    missing = len(tiles.product.out.shape) - len(operand.shape)
    return ((1,) * missing + operand.shape)[:-2]


def packing_of(
    shape: Sequence[int], parts: Sequence[tuple[int, ...]], order: str, axes: str
) -> Packing:
    """Take the last two axes, called ``axes``, apart into ``parts``; ``order`` names these."""
    batch = tuple(shape[:-2])
    names = [
        f"{name}{k}" for name, sizes in zip(axes, parts, strict=True) for k in range(len(sizes))
    ]
    pad = [math.prod(sizes) - size for sizes, size in zip(parts, shape[-2:], strict=True)]
    return Packing(
        tuple(shape),
        (*(0 for _ in batch), *pad),
        (*batch, *(size for sizes in parts for size in sizes)),
        (*range(len(batch)), *(len(batch) + names.index(name) for name in order.split())),
    )


def _blocks(tiles: Tiling, packing: Packing) -> tuple[int, ...]:
    """How far apart blocks of a batch are, 0 where all are one."""
    if not tiles.product.batch:
        return ()
    *sizes, _, _ = packing.shape
    block = math.prod(packing.parts[len(sizes) :])
    steps = (
        block * math.prod(sizes[axis + 1 :]) if size > 1 else 0 for axis, size in enumerate(sizes)
    )
    return (*(0 for _ in tiles.product.batch[len(sizes) :]), *steps)


def block_offset(batch: Sequence[Index], strides: Sequence[int]) -> tirx.Expr:
    """The index of the first element of a block; ``batch`` are expressions or numbers."""
    total: tirx.Expr = tirx.const(0, "int32")
    for index, stride in zip(batch, strides, strict=True):
        total = total + index * stride if stride else total
    return total
