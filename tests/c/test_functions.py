"""Lowered PrimFuncs -> C functions, printed, compiled and called."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tvm import tirx
from tvm.script import tirx as T

from tvm_kp.c.buffers import written_buffers
from tvm_kp.c.functions import FunctionPrinter
from tvm_kp.c.support import helpers
from tvm_kp.errors import ModelError
from tvm_kp.kernel.hoist import hoist_allocations


def text_of(function: tirx.PrimFunc, aliased: tuple[int, ...] = ()) -> str:
    printer = FunctionPrinter(function)
    body = "\n".join(printer.body())
    head = f"void f({printer.parameters(aliased)})"
    includes = "#include <stdint.h>\n#include <math.h>\n" + helpers(printer.helpers)
    return f"{includes}\n{head};\n{head} {{\n{body}\n}}\n"


@pytest.fixture
def call(
    tmp_path: Path, compile_strictly: Callable[..., None]
) -> Callable[[tirx.PrimFunc, list[np.ndarray]], None]:
    """Compiles a function with every warning an error, on both machines, and calls it here."""

    def run(function: tirx.PrimFunc, arrays: list[np.ndarray]) -> None:
        text = text_of(function)
        for target in ("host", "mps2-an386"):
            compile_strictly({"f.c": text}, target)
        command = ["gcc", "-std=c99", "-O2", "-fPIC", "-shared", "f.c", "-o", "f.so", "-lm"]
        subprocess.run(command, cwd=tmp_path, check=True)
        library = ctypes.CDLL(str(tmp_path / "f.so"))
        library.f(*(a.ctypes.data_as(ctypes.c_void_p) for a in arrays))

    return run


@T.prim_func(private=True)
def statements(x: T.Buffer((20,)), out: T.Buffer((20,))):
    one = T.alloc_buffer((1,))
    four = T.alloc_buffer((4,))
    for i in range(5):
        for j in range(4):
            four[j] = x[i * 4 + j]
        one[0] = four[0] + four[3]
        for j in range(4):
            if i * 4 + j < 10:
                out[i * 4 + j] = one[0] * T.float32(2)
            else:
                out[i * 4 + j] = T.tanh(four[j])


def test_loops_branches_and_temporaries(call) -> None:
    x = np.linspace(-2, 2, 20, dtype="float32")
    out = np.empty_like(x)
    call(statements, [x, out])
    first = np.repeat(2 * (x[0::4] + x[3::4]), 4)
    np.testing.assert_allclose(out, np.where(np.arange(20) < 10, first, np.tanh(x)), atol=1e-6)


def test_a_temporary_of_one_element_is_a_scalar() -> None:
    text = text_of(statements)
    assert re.search(r"^  float one;$", text, re.M)
    assert re.search(r"^  float four\[4\];$", text, re.M)
    assert "one = four[0] + four[3];" in text


@T.prim_func(private=True)
def integers(x: T.Buffer((9,), "int32"), y: T.Buffer((9,), "int64"), out: T.Buffer((9,), "int64")):
    for i in range(9):
        out[i] = T.Cast("int64", T.floordiv(x[i], 4) + T.floormod(x[i], 3)) * y[i]


def test_integers(call) -> None:
    x = np.arange(-4, 5, dtype="int32")
    y = np.arange(9, dtype="int64") << 33
    out = np.empty_like(y)
    call(integers, [x, y, out])
    np.testing.assert_array_equal(out, (x // 4 + x % 3) * y)


@T.prim_func(private=True)
def floors(x: T.Buffer((9,), "int64"), out: T.Buffer((9,), "int64")):
    for i in range(9):
        out[i] = T.floordiv(x[i], T.int64(7))


def test_division_of_wide_integers(call) -> None:
    x = np.arange(-4, 5, dtype="int64") << 40
    out = np.empty_like(x)
    call(floors, [x, out])
    np.testing.assert_array_equal(out, x // 7)


@T.prim_func(private=True)
def infinite(out: T.Buffer((3,))):
    out[0] = T.float32("inf")
    out[1] = T.float32("-inf")
    out[2] = T.float32("nan")


def test_special_numbers(call) -> None:
    out = np.zeros(3, "float32")
    call(infinite, [out])
    np.testing.assert_array_equal(out, [np.inf, -np.inf, np.nan])


def test_const_and_restrict() -> None:
    assert FunctionPrinter(statements).parameters() == (
        "const float *restrict x, float *restrict out"
    )
    assert FunctionPrinter(statements).parameters((0, 1)) == "const float *x, float *out"
    assert written_buffers(statements) == {statements.params[1]}


@T.prim_func(private=True)
def awkward(T_x: T.Buffer((4,)), int: T.Buffer((4,))):
    for restrict in range(4):
        int[restrict] = T_x[restrict]
    for restrict in range(4):
        int[restrict] = int[restrict] + T.float32(1)


def test_names_are_those_of_c(call) -> None:
    x, out = np.arange(4, dtype="float32"), np.zeros(4, "float32")
    call(awkward, [x, out])
    np.testing.assert_array_equal(out, x + 1)
    text = text_of(awkward)
    assert "float *restrict x, float *restrict _int" in text
    assert "int32_t _restrict = 0" in text and "int32_t _restrict_1 = 0" in text


def test_given_names_are_taken_first() -> None:
    printer = FunctionPrinter(statements, {statements.params[0]: "i"})
    body = "\n".join(printer.body())
    assert "for (int32_t i_1 = 0; i_1 < 5; ++i_1) {" in body
    assert printer.parameters().startswith("const float *restrict i,")


@T.prim_func(private=True)
def parallel(out: T.Buffer((4,))):
    for i in T.parallel(4):
        out[i] = T.float32(0)


def test_a_parallel_loop_is_refused() -> None:
    with pytest.raises(ModelError, match="loop of kind"):
        FunctionPrinter(parallel).body()


@T.prim_func(private=True)
def shared(x: T.Buffer((40,)), out: T.Buffer((40,))):
    large = T.alloc_buffer((40,))
    for i in range(40):
        large[i] = x[i] * T.float32(3)
    for i in range(40):
        out[i] = large[39 - i]


def test_large_temporaries_are_parameters(call) -> None:
    x = np.arange(40, dtype="float32")
    out, room = np.zeros_like(x), np.zeros_like(x)
    hoisted = hoist_allocations(shared)
    assert [p.name for p in hoisted.params] == ["x", "out", "large"]
    call(hoisted, [x, out, room])
    np.testing.assert_array_equal(out, 3 * x[::-1])
    assert "float *restrict large" in FunctionPrinter(hoisted).parameters()


def test_small_temporaries_stay() -> None:
    assert hoist_allocations(statements).same_as(statements)
