"""Matrix products in portable C: a row of four accumulators, for compilers to make of what
they can (a vector on the host, library calls where there is no FPU)."""

from tvm_kp.kernel.tiling import find_product, tile_product

ISA = set()
ACCUMULATORS = 4


def apply(sch):
    product = find_product(sch)
    if product is None:
        return None
    columns = min(ACCUMULATORS, product.columns)
    tile_product(sch, product, rows=1, columns=columns, vector=columns, unroll=1)
    return sch
