"""Point-wise functions of floats on MVE: four elements at a time, what is left of them too.

Arithmetic, tanh and sigmoid, in which recurrent cells spend their time; those in C have the same
formula, and are off as much. Left to other rules: everything else.
"""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule

from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.vector_loops import of_floats, vector_loops

ISA = {"mve", "mve.fp"}
KINDS = {"c"}
VERSION = 1

# What tvm_kp/c/vectors.py knows.
_ARITHMETIC = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Max, tirx.Min)


def apply(sch: Schedule, choose: Choose) -> Schedule | None:
    return vector_loops(sch, choose, of_floats(_ARITHMETIC))
