"""Matrix products of floats on a Cortex-M with an FPU: outer products in registers.

The 32 single-precision registers hold the sums of a tile and operands of several steps along them,
which load-multiples read; weights are packed when the model is compiled. So a multiply-accumulate
costs little more than itself. Left to other rules: operands whose rows are not rows in memory.
"""

from __future__ import annotations

from tvm.s_tir import Schedule

from tvm_kp.kernel.float_product import find_float_product
from tvm_kp.kernel.fpu_tiles import fpu_tiles_of
from tvm_kp.kernel.outer_loops import outer_loops
from tvm_kp.kernel.space import Choose

ISA = {"fpu"}
VERSION = 2


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    product = find_float_product(sch)
    return None if product is None else Schedule(outer_loops(fpu_tiles_of(product, choose)))
