"""Matrix products of floats on a Cortex-M with MVE: outer products of vectors of four.

The eight vector registers hold the results of a tile and a vector of W for each of its columns of
vectors; a scalar of X, in an integer register, is an operand of the instruction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from tvm.s_tir import Schedule

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.tiling import Product, Tile, find_product, tile_product

ISA = {"mve", "mve.fp"}
KINDS = {"llvm"}  # the C has assembly
VERSION = 1
LANES = 4
REGISTERS = 8
TILES = 4  # that are offered
UNROLLS = (1, 2, 4)


class Shape(NamedTuple):
    """``rows`` x ``vectors`` vectors of results."""

    rows: int
    vectors: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.vectors}"


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    product = find_product(sch)
    if product is None or product.dtype != "float32" or product.columns % LANES:
        return None
    best = sorted(_shapes(product), key=lambda shape: _loads(product, shape))[:TILES]
    shapes = {str(shape): shape for shape in best}
    rows, vectors = shapes[choose("tile", tuple(shapes), str(best[0]))]
    unrolls = tuple(n for n in UNROLLS if n <= product.depth)
    unroll = choose("unroll", unrolls, unrolls[1] if rows > 1 and len(unrolls) > 1 else 1)
    tile_product(sch, product, Tile(rows, vectors, LANES, unroll, vectorized=True))
    return sch


def _shapes(product: Product) -> Iterator[Shape]:
    """All that fit the registers and divide the columns."""
    for vectors in range(1, REGISTERS):
        for rows in range(1, product.rows + 1):
            divides = product.columns % (vectors * LANES) == 0
            if divides and rows * vectors < REGISTERS - 1:
                yield Shape(rows, vectors)


def _loads(product: Product, shape: Shape) -> tuple[float, int]:
    """What sorts shapes: the instructions beside the multiply-accumulates, then their size."""
    rows, columns = math.ceil(product.rows / shape.rows), product.columns // LANES
    tiles = rows * (columns // shape.vectors)
    loads = product.depth * (rows * columns + product.rows * (columns // shape.vectors))
    return loads + 5 * tiles, -shape.rows * shape.vectors
