"""Matrix products on a Cortex-M with an FPU: outer products in registers.

The 32 single-precision registers hold the results of a tile, a vector of W that one load-multiple
reads, and scalars of X, so that a multiply-accumulate costs little more than itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from tvm.s_tir import Schedule

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.tiling import Product, Tile, find_product, tile_product

ISA = {"fpu"}
VERSION = 1
REGISTERS = 32
LONGEST = 8  # floats that a load-multiple reads
MOST_VECTORS = 3
TILES = 6  # that are offered
STEPS = (1, 2, 4, 8)  # of the reduction
# Multiply-accumulates of a tile, or a row of tiles, that are written out; each takes 4 bytes.
USUAL, MOST = 128, 1024


class Shape(NamedTuple):
    """``rows`` x (``vectors`` * ``vector``) results."""

    rows: int
    vectors: int
    vector: int

    @property
    def columns(self) -> int:
        return self.vectors * self.vector

    def __str__(self) -> str:
        return f"{self.rows}x{'+'.join([str(self.vector)] * self.vectors)}"


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    product = find_product(sch)
    if product is None or product.dtype != "float32":
        return None
    tile_product(sch, product, _tile(product, choose))
    return sch


def _tile(product: Product, choose: Choose) -> Tile:
    best = sorted(_shapes(product), key=lambda shape: _loads(product, shape))[:TILES]
    shapes = {str(shape): shape for shape in best}
    shape = shapes[choose("tile", tuple(shapes), str(best[0]))]
    together = most = _most_together(product, shape)
    if most > 1:
        together = choose("together", tuple(n for n in STEPS if n <= most), most)
    by_row = _by_row(shape, together, choose)
    unroll = _unroll(product, shape, together, choose)
    written_out = _writes_columns_out(product, shape, unroll, choose)
    return Tile(*shape, unroll, together, by_row, written_out)


def _by_row(shape: Shape, together: int, choose: Choose) -> bool:
    """Whether the scalars of X are read row by row: fewer are held at a time."""
    if shape.rows == 1 or shape.vectors > 1:
        return False
    if shape.rows * shape.columns + together * shape.vector + shape.rows > REGISTERS:
        return True
    usual = "row" if shape.rows == 2 or together > 1 else "step"
    return choose("scalars", ("step", "row"), usual) == "row"


def _unroll(product: Product, shape: Shape, together: int, choose: Choose) -> int:
    """Steps of the reduction to write out: few, or all.

    More than half of them would be all too: what is left is written out beside them.
    """
    everything = math.ceil(product.depth / together) * together
    options = [n for n in STEPS if n % together == 0 and n <= product.depth // 2]
    results = shape.rows * shape.columns
    if not options or everything * results <= MOST:
        options.append(everything)
    usual = [n for n in options if n * results <= USUAL]
    return choose("unroll", tuple(options), max(usual, default=options[0]))


def _writes_columns_out(product: Product, shape: Shape, unroll: int, choose: Choose) -> bool:
    """Whether all tiles of a row are written out; with one the only one is anyway."""
    macs = shape.rows * product.columns * unroll
    if product.columns // shape.columns == 1 or macs > MOST:
        return False
    usual = "written out" if macs <= USUAL else "loop"
    return choose("columns", ("loop", "written out"), usual) == "written out"


def _shapes(product: Product) -> Iterator[Shape]:
    """All that fit the registers, with one scalar of X."""
    for vector in range(1, min(LONGEST, product.columns) + 1):
        for vectors in range(1, min(MOST_VECTORS, product.columns // vector) + 1):
            for rows in range(1, product.rows + 1):
                scalars = 1 if vectors == 1 else rows
                if (rows * vectors + 1) * vector + scalars <= REGISTERS:
                    yield Shape(rows, vectors, vector)


def _loads(product: Product, shape: Shape) -> tuple[float, int]:
    """What sorts shapes: the instructions beside the multiply-accumulates, then their size.

    A load-multiple takes one more for its address.
    """
    rows, columns = math.ceil(product.rows / shape.rows), math.ceil(product.columns / shape.columns)
    vectors = rows * math.ceil(product.columns / shape.vector) / _most_together(product, shape)
    loads = product.depth * (2 * vectors + columns * product.rows)
    return loads + 5 * rows * columns, -shape.rows * shape.columns


def _most_together(product: Product, shape: Shape) -> int:
    """How many rows of W, one after the other in memory, a load-multiple can read."""
    if shape.vector != product.columns:
        return 1
    free = min(LONGEST, REGISTERS - 1 - shape.rows * shape.columns)
    return max(n for n in STEPS if n == 1 or (n * shape.vector <= free and n <= product.depth))
