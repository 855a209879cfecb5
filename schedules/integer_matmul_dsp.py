"""Requantized products of integers on a Cortex-M with DSP instructions: SMLAD on tiles.

Two products are one instruction, and the words of a tile come by load-multiples, in an order in
which the weights are packed when the model is compiled.
"""

from __future__ import annotations

from tvm.s_tir import Schedule

from tvm_kp.kernel.integer_product import find_integer_product
from tvm_kp.kernel.product_loops import product_loops
from tvm_kp.kernel.product_tiles import tiles_of
from tvm_kp.kernel.space import Choose

ISA = {"dsp"}
PRIORITY = 1
VERSION = 2


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    function = sch.mod["main"]
    product = find_integer_product(function)
    if product is None:
        return None
    return Schedule(product_loops(function, tiles_of(product, choose)))
