from __future__ import annotations

import re

import pytest
from tvm.script import tirx as T

from tvm_kp.kernel.load_multiple import use_load_multiple


def moves(function) -> list[str]:
    """The load- and store-multiples of ``function`` in order."""
    return re.findall(r"kp_(?:load|store)\d", use_load_multiple(function).script())


@T.prim_func(private=True)
def run_of_three(x: T.Buffer((9,), "float32"), y: T.Buffer((9,), "float32")):
    t = T.alloc_local((3,), "float32")
    for i in range(3):
        t[0] = x[i * 3]
        t[1] = x[i * 3 + 1]
        t[2] = x[i * 3 + 2]
        y[i * 3] = t[0]
        y[i * 3 + 1] = t[1]
        y[i * 3 + 2] = t[2]


@T.prim_func(private=True)
def run_of_ten(x: T.Buffer((10,), "float32"), y: T.Buffer((1,), "float32")):
    t = T.alloc_local((10,), "float32")
    t[0] = x[0]
    t[1] = x[1]
    t[2] = x[2]
    t[3] = x[3]
    t[4] = x[4]
    t[5] = x[5]
    t[6] = x[6]
    t[7] = x[7]
    t[8] = x[8]
    t[9] = x[9]
    y[0] = t[0] + t[9]


@T.prim_func(private=True)
def broken_by_a_statement(x: T.Buffer((2,), "float32"), y: T.Buffer((2,), "float32")):
    t = T.alloc_local((2,), "float32")
    t[0] = x[0]
    y[0] = T.float32(1)
    t[1] = x[1]
    y[1] = t[0] + t[1]


@T.prim_func(private=True)
def gap(x: T.Buffer((4,), "float32"), y: T.Buffer((1,), "float32")):
    t = T.alloc_local((2,), "float32")
    t[0] = x[0]
    t[1] = x[2]
    y[0] = t[0] + t[1]


@T.prim_func(private=True)
def backwards(x: T.Buffer((2,), "float32"), y: T.Buffer((1,), "float32")):
    t = T.alloc_local((2,), "float32")
    t[0] = x[1]
    t[1] = x[0]
    y[0] = t[0] + t[1]


@T.prim_func(private=True)
def integers(x: T.Buffer((2,), "int32"), y: T.Buffer((1,), "int32")):
    t = T.alloc_local((2,), "int32")
    t[0] = x[0]
    t[1] = x[1]
    y[0] = t[0] + t[1]


@T.prim_func(private=True)
def memory_to_memory(x: T.Buffer((2,), "float32"), y: T.Buffer((2,), "float32")):
    y[0] = x[0]
    y[1] = x[1]


@T.prim_func(private=True)
def sums(x: T.Buffer((4,), "float32"), y: T.Buffer((2,), "float32")):
    t = T.alloc_local((2,), "float32")
    t[0] = x[0]
    t[1] = x[1]
    t[0] = t[0] + x[2]
    t[1] = t[1] + x[3]
    y[0] = t[0]
    y[1] = t[1]


def test_loads_and_stores_in_a_loop():
    assert moves(run_of_three) == ["kp_load3", "kp_store3"]


def test_a_long_run_is_cut():
    assert moves(run_of_ten) == ["kp_load8", "kp_load2"]


@pytest.mark.parametrize(
    "function", [broken_by_a_statement, gap, backwards, integers, memory_to_memory, sums]
)
def test_left_unchanged(function):
    assert moves(function) == []
