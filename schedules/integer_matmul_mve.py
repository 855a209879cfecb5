"""Requantized products of integers on a Cortex-M with MVE: dot products, tile by tile.

Eight products of int16 or sixteen of int8 are one instruction; the weights are packed for it when
the model is compiled.
"""

from __future__ import annotations

from tvm.s_tir import Schedule

from tvm_kp.kernel.dot_loops import dot_loops, is_near
from tvm_kp.kernel.dot_tiles import dot_tiles_of
from tvm_kp.kernel.integer_product import find_integer_product
from tvm_kp.kernel.space import Choose

ISA = {"mve"}
KINDS = {"c"}
PRIORITY = 2
VERSION = 3


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    function = sch.mod["main"]
    product = find_integer_product(function)
    if product is None or not is_near(product):
        return None
    return Schedule(dot_loops(function, dot_tiles_of(product, choose)))
