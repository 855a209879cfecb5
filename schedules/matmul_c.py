"""Matrix products in portable C: a row of four accumulators, for compilers to make of what
they can (a vector on the host, library calls where there is no FPU)."""

from __future__ import annotations

from tvm.s_tir import Schedule

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.tiling import find_product, tile_product

ISA: set[str] = set()
ACCUMULATORS = 4


def apply(sch: Schedule, _choose: Choose) -> Schedule | None:
    product = find_product(sch)
    if product is None:
        return None
    columns = min(ACCUMULATORS, product.columns)
    tile_product(sch, product, rows=1, columns=columns, vector=columns, unroll=1)
    return sch
