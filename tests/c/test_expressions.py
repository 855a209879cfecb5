"""TIR expressions -> C text, and literals that read back bit for bit."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx
from tvm.ir import Range, StringImm
from tvm.sym import Analyzer

from tvm_kp.c.expressions import Expressions, float_literal
from tvm_kp.errors import ModelError

K, J = tirx.Var("i", "int32"), tirx.Var("j", "int32")
F, G = tirx.Var("f", "float32"), tirx.Var("g", "float32")
P, Q = tirx.Var("p", "bool"), tirx.Var("q", "bool")
D = tirx.Var("d", "float64")
BUFFER = tirx.decl_buffer((8,), "float32", "x")
TABLE = tirx.decl_buffer((513,), "int16", "table")
NAMES = {var: var.name for var in (K, J, F, G, P, Q, D, BUFFER)}
HALF = tirx.const(0.5, "float32")


def printer() -> Expressions:
    ranges = Analyzer()
    ranges.bind(J, Range(0, 100))
    return Expressions(NAMES, ranges, {TABLE: "table_middle"})


def interpolated(x: tirx.Expr) -> tirx.Expr:
    entries = (tirx.BufferLoad(TABLE, [(x >> 7) + k]) for k in (256, 257))
    return tirx.call_intrin("int32", "tirx.kp_interpolate", *entries, x, 7, 64, 7)


TEXTS = [
    (tirx.max(tirx.min(K * J, 127), -128), "kp_saturate8(i * j)"),
    (tirx.max(tirx.min(K, 2**30 - 1), -(2**30)), "kp_saturate31(i)"),
    (
        tirx.max(tirx.min(K, 127), -127),
        "((i > 127 ? 127 : i) < (-127) ? (-127) : (i > 127 ? 127 : i))",
    ),
    (interpolated(K + 1), "kp_interpolate(table_middle, i + 1, 7, 64, 7)"),
    (K, "i"),
    (tirx.const(7, "int32"), "7"),
    (tirx.const(-7, "int32"), "(-7)"),
    (tirx.const(-7, "int64"), "(-7)"),
    (tirx.const(1 << 40, "int64"), "INT64_C(1099511627776)"),
    (tirx.const(True, "bool"), "1"),
    (HALF, "0.5f"),
    (StringImm("label"), "label"),
    (tirx.BufferLoad(BUFFER, [K]), "x[i]"),
    (tirx.Cast("float32", K), "(float)(i)"),
    (tirx.Cast("int64", K), "(int64_t)(i)"),
    (K + J, "i + j"),
    (K - (J - 1), "i - (j - 1)"),
    (K + (J + 1), "i + (j + 1)"),
    (K * (J + 1), "i * (j + 1)"),
    (K * J + 1, "i * j + 1"),
    (F / (G / F), "f / (g / f)"),
    (F - G * F, "f - g * f"),
    (tirx.LT(F, G), "f < g"),
    (tirx.LE(F, G), "f <= g"),
    (tirx.GT(F, G), "f > g"),
    (tirx.GE(F, G), "f >= g"),
    (tirx.EQ(K, J), "i == j"),
    (tirx.NE(K, J), "i != j"),
    (tirx.And(tirx.Or(P, Q), P), "(p || q) && p"),
    (tirx.Not(tirx.And(P, Q)), "!(p && q)"),
    (tirx.Max(F, G), "(f < g ? g : f)"),
    (tirx.Min(F, G), "(f > g ? g : f)"),
    (tirx.Select(P, F + G, G), "((p) ? f + g : g)"),
    (tirx.if_then_else(tirx.LT(K, 3), F, G), "((i < 3) ? f : g)"),
    (tirx.likely(P), "p"),
    (tirx.address_of(tirx.BufferLoad(BUFFER, [K + 1])), "&x[i + 1]"),
    (tirx.call_extern("int32", "f", K, J + 1), "f(i, j + 1)"),
    (tirx.floordiv(J, tirx.const(4, "int32")), "(j / 4)"),
    (tirx.floormod(J, tirx.const(4, "int32")), "(j % 4)"),
    (tirx.floordiv(K, tirx.const(4, "int32")), "kp_floordiv(i, 4)"),
    (tirx.floordiv(J + 5, tirx.const(4, "int32")), "((j + 5) / 4)"),
    (tirx.floormod(K, J + 1), "(i - kp_floordiv(i, (j + 1)) * (j + 1))"),
    (tirx.abs(F), "fabsf(f)"),
]


@pytest.mark.parametrize(("expression", "text"), TEXTS, ids=[text for _, text in TEXTS])
def test_text(expression, text) -> None:
    assert printer().text(expression) == text


FUNCTIONS = {
    "exp": "expf", "log": "logf", "sqrt": "sqrtf", "floor": "floorf",
    "ceil": "ceilf", "trunc": "truncf", "round": "roundf", "erf": "erff", "sin": "sinf",
    "cos": "cosf", "tan": "tanf", "atan": "atanf", "exp2": "exp2f", "log2": "log2f",
    "log10": "log10f", "log1p": "log1pf", "nearbyint": "nearbyintf",
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_libm(name: str) -> None:
    made = printer()
    call = getattr(tirx, name)(F)
    assert made.text(call) == f"{FUNCTIONS[name]}(f)"
    assert made.libm == {FUNCTIONS[name]} and not made.helpers


def test_functions_of_two_arguments_and_roots() -> None:
    made = printer()
    assert made.text(tirx.pow(F, G)) == "powf(f, g)"
    assert made.text(tirx.rsqrt(F)) == "(1.0f / sqrtf(f))"
    assert made.libm == {"powf", "sqrtf"}


def test_tanh_and_sigmoid_are_our_own() -> None:
    made = printer()
    assert made.text(tirx.tanh(F)) == "kp_tanhf(f)"
    assert made.text(tirx.sigmoid(F)) == "kp_sigmoidf(f)"
    assert made.helpers == {"kp_tanhf", "kp_sigmoidf"} and not made.libm


@pytest.mark.parametrize(
    "expression",
    [tirx.exp(D), tirx.popcount(K)],
    ids=["exp of a double", "popcount"],
)
def test_what_has_no_c_is_an_error(expression) -> None:
    with pytest.raises(ModelError, match="cannot be written in C"):
        printer().text(expression)


def library(folder: Path, text: str) -> ctypes.CDLL:
    source, binary = folder / "text.c", folder / "text.so"
    source.write_text(text)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Werror"]
    command = ["gcc", *strict, "-O1", "-fPIC", "-shared", str(source), "-o", str(binary), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(binary))


DIVISIONS = {
    "i // 3": tirx.floordiv(K, 3),
    "i // -3": tirx.floordiv(K, -3),
    "i % 3": tirx.floormod(K, 3),
    "i % -5": tirx.floormod(K, -5),
    "(i + j) // 4": tirx.floordiv(K + J, 4),
    "(j + 5) // 4": tirx.floordiv(J + 5, 4),
    "(j + 5) % 4": tirx.floormod(J + 5, 4),
    "(j * 3 + 7) // (j + 2)": tirx.floordiv(J * 3 + 7, J + 2),
    "(j * 3 + 7) % (j + 2)": tirx.floormod(J * 3 + 7, J + 2),
    "(i - j) % (j + 1)": tirx.floormod(K - J, J + 1),
    "(i - j) // (i * i + 1)": tirx.floordiv(K - J, K * K + 1),
    "-(i // 7) + (j % 9)": 0 - tirx.floordiv(K, 7) + tirx.floormod(J, 9),
    "max(i, j) - min(i + 1, j - 1)": tirx.Max(K, J) - tirx.Min(K + 1, J - 1),
}


def test_integer_arithmetic_is_pythons(tmp_path: Path) -> None:
    from tvm_kp.c.support import helpers

    made = printer()
    bodies = [
        f"int32_t f{k}(int32_t i, int32_t j);\n"
        f"int32_t f{k}(int32_t i, int32_t j) {{ return {made.text(e)} + 0 * (i + j); }}"
        for k, e in enumerate(DIVISIONS.values())
    ]
    text = "\n".join(["#include <stdint.h>", helpers(made.helpers), *bodies])
    compiled = library(tmp_path, text)
    for k, source in enumerate(DIVISIONS):
        for i in range(-13, 14):
            for j in (0, 1, 2, 3, 4, 7, 10, 99):
                wanted = eval(source, {"i": i, "j": j, "max": max, "min": min})
                assert compiled[f"f{k}"](i, j) == wanted, (source, i, j)


SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-45, 3e-39, 1.1754944e-38, 3.4028235e38, 16777216.0,
     1e7, 123456792.0, 0.1, -1.0, 1 / 3],
    "float32",
)  # fmt: skip


def test_literals_read_back_bit_for_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint64)
    drawn = random.astype(np.uint32).view(np.float32)
    values = np.concatenate([SPECIAL, drawn[~np.isnan(drawn)], [np.float32(np.nan)]])
    values = values.astype("float32")
    listed = ", ".join(float_literal(v) for v in values)
    declared = f"const float v[{len(values)}]"
    text = f"#include <math.h>\nextern {declared}; {declared} = {{{listed}}};"
    read = np.array((ctypes.c_float * len(values)).in_dll(library(tmp_path, text), "v"))
    np.testing.assert_array_equal(
        read.astype("float32").view("uint32")[:-1], values.view("uint32")[:-1]
    )
    assert np.isnan(read[-1])


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_literals_are_floats_and_short(value: float) -> None:
    text = float_literal(value)
    assert text.endswith("f") and any(mark in text for mark in ".e")
    assert np.float32(text[:-1]) == np.float32(value)
    assert len(text) <= 16
