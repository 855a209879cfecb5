"""Matrix products on a Cortex-M with an FPU: outer products in registers.

Of the 32 single-precision registers 16 hold results, 8 a vector of W read by one load-multiple
and the rest scalars of X, so that a multiply-accumulate costs little more than itself.
"""

from __future__ import annotations

from tvm.s_tir import Schedule

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.tiling import find_product, tile_product

ISA = {"fpu"}
ACCUMULATORS = 16
VECTOR = 8


def apply(sch: Schedule, _choose: Choose) -> Schedule | None:
    product = find_product(sch)
    if product is None or product.dtype != "float32":
        return None
    vector = min(VECTOR, product.columns)
    rows = min(product.rows, ACCUMULATORS // vector)
    columns = vector * max(1, ACCUMULATORS // (vector * rows))
    unroll = 2 if product.depth > 1 else 1
    tile_product(sch, product, rows, columns, vector, unroll)
    return sch
