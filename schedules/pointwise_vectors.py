"""Point-wise functions of floats on MVE as vectors of LLVM, which knows its instructions itself."""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.vector_loops import of_floats, vector_loops

ISA = {"mve", "mve.fp"}
KINDS = {"llvm"}
VERSION = 1

# Of comparisons with a NaN MVE makes others than C.
_ARITHMETIC = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div)


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    return vector_loops(sch, choose, of_floats(_ARITHMETIC))
