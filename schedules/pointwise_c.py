"""Point-wise functions: one loop, every intermediate in a register."""

from __future__ import annotations

from tvm.s_tir import Schedule

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.tiling import merge_pointwise

ISA: set[str] = set()


def apply(sch: Schedule, _choose: Choose) -> Schedule | None:
    return sch if merge_pointwise(sch) else None
