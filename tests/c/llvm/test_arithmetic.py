"""Functions that objects have no form for are refused, the others become calls."""

from __future__ import annotations

import pytest
import tvm
from tvm import tirx

from tvm_kp.c.llvm.arithmetic import lower_arithmetic
from tvm_kp.errors import ModelError
from tvm_kp.target import Target


def lowered(function, dtype: str) -> str:
    x = tirx.decl_buffer((8,), dtype, "x")
    i = tirx.Var("i", "int32")
    store = tirx.BufferStore(x, function(tirx.BufferLoad(x, [i])), [i])
    made = tirx.PrimFunc([x], tirx.For(i, 0, 8, tirx.ForKind.SERIAL, store))
    llvm = tvm.target.Target(Target.load("llvm -mcpu=cortex-m4").llvm)
    return lower_arithmetic(made, llvm).script()


def test_functions_are_those_of_c() -> None:
    assert '"kp_tanhf", x[i]' in lowered(tirx.tanh, "float32")
    assert '"expf", x[i]' in lowered(tirx.exp, "float32")
    assert '"sqrtf", x[i]' in lowered(tirx.rsqrt, "float32")
    relu = lowered(lambda x: tirx.max(x, tirx.const(0, "float32")), "float32")
    assert "T.Select(x[i] < T.float32(0.0), T.float32(0.0), x[i])" in relu


def test_functions_of_doubles_are_refused() -> None:
    with pytest.raises(ModelError, match="no exp of float64 for objects"):
        lowered(tirx.exp, "float64")
