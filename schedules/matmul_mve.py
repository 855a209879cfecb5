"""Matrix products of floats on a Cortex-M with floats in MVE: outer products in vectors.

A vector of one operand times a scalar of the other is added to four sums at a time. The weights,
vectors or scalars, are packed when the model is compiled, unless sums are short and all vectors of
a column stay in registers. Left to other rules: products of two inputs.
"""

from __future__ import annotations

from tvm.s_tir import Schedule

from tvm_kp.kernel.float_product import find_float_product
from tvm_kp.kernel.mve_tiles import mve_tiles_of
from tvm_kp.kernel.outer_loops import outer_loops
from tvm_kp.kernel.space import Choose

ISA = {"mve", "mve.fp"}
VERSION = 3


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    product = find_float_product(sch)
    if product is None or product.weights == "none":
        return None
    return Schedule(outer_loops(mve_tiles_of(product, choose)))
