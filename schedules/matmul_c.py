"""Matrix products in portable C: a few accumulators, for compilers to make of what they can (a
vector on the host, library calls where there is no FPU)."""

from __future__ import annotations

from tvm.s_tir import Schedule

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.tiling import Tile, find_product, tile_product

ISA: set[str] = set()
VERSION = 1
ROWS, COLUMNS, UNROLLS = (1, 2, 4), (4, 8), (1, 4)


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    product = find_product(sch)
    if product is None:
        return None
    rows = choose("rows", tuple(n for n in ROWS if n <= product.rows), 1)
    widths = tuple(n for n in COLUMNS if n <= product.columns) or (product.columns,)
    columns = choose("columns", widths, widths[0])
    unroll = choose("unroll", tuple(n for n in UNROLLS if n <= product.depth), 1)
    tile_product(sch, product, Tile(rows, columns, unroll))
    return sch
