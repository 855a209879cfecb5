"""Point-wise functions: one loop, every intermediate in a register."""

from __future__ import annotations

from tvm.s_tir import Schedule

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.tiling import merge_pointwise

ISA: set[str] = set()
VERSION = 1
UNROLLS = (1, 2, 4, 8)


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    loop = merge_pointwise(sch)
    if loop is None:
        return None
    extent = int(sch.get(loop).extent)
    unroll = choose("unroll", tuple(n for n in UNROLLS if n <= extent), 1)
    outer, inner = sch.split(loop, [None, unroll])
    sch.unroll(inner)
    sch.annotate(outer, "pragma_loop_partition_hint", 1)
    return sch
