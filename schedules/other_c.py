"""Everything else: TVM's own loops, sums in registers, intermediates inlined."""

from __future__ import annotations

from tvm.s_tir import Schedule

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.tiling import accumulate_in_registers, inline_intermediates

ISA: set[str] = set()
VERSION = 1
PRIORITY = -1


def apply(sch: Schedule, _choose: Choose) -> Schedule | None:
    inline_intermediates(sch)
    accumulate_in_registers(sch)
    return sch
