"""Lowered functions are loops over flat buffers with 32-bit indices."""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.script import tirx as T

from tvm_kp.kernel.lower import lower


@T.prim_func(private=True, s_tir=True)
def add(
    x: T.Buffer((T.int64(4), T.int64(6)), "float32"),
    y: T.Buffer((T.int64(4), T.int64(6)), "float32"),
):
    for i, j in T.grid(T.int64(4), T.int64(6)):
        with T.sblock("add"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = x[vi, vj] + T.float32(1)


@T.prim_func(private=True, s_tir=True)
def wide(x: T.Buffer((T.int64(4),), "int64"), y: T.Buffer((T.int64(4),), "int64")):
    for i in range(T.int64(4)):
        with T.sblock("add"):
            vi = T.axis.spatial(T.int64(4), i)
            y[vi] = x[vi] + T.int64(1 << 40)


def lowered(function: tirx.PrimFunc) -> tirx.PrimFunc:
    return lower(tvm.IRModule({"f": function}))["f"]


def loops(function: tirx.PrimFunc) -> list[tirx.For]:
    found: list[tirx.For] = []
    tvm_ffi.structural_walk(function.body, (tirx.For, found.append))
    return found


def test_indices_are_flat_and_narrow() -> None:
    function = lowered(add)
    assert [str(loop.loop_var.ty.dtype) for loop in loops(function)] == ["int32", "int32"]
    stores: list[tirx.BufferStore] = []
    tvm_ffi.structural_walk(function.body, (tirx.BufferStore, stores.append))
    (store,) = stores
    assert len(store.indices) == 1 and str(store.indices[0].ty.dtype) == "int32"


def test_wide_data_stays_wide() -> None:
    function = lowered(wide)
    assert str(1 << 40) in function.script()
    assert [str(loop.loop_var.ty.dtype) for loop in loops(function)] == ["int32"]


def test_unrolled_loops_are_written_out() -> None:
    sch = s_tir.Schedule(add)
    sch.unroll(sch.get_loops(sch.get_sblock("add"))[1])
    assert len(loops(lowered(sch.mod["main"]))) == 1


def test_a_tail_is_a_loop_of_its_own() -> None:
    sch = s_tir.Schedule(add)
    outer, inner = sch.split(sch.get_loops(sch.get_sblock("add"))[1], [None, 4])
    sch.unroll(inner)
    sch.annotate(outer, "pragma_loop_partition_hint", 1)
    text = lowered(sch.mod["main"]).script()
    assert "if " not in text and "T.likely" not in text


@T.prim_func(private=True, s_tir=True)
def twice(x: T.Buffer((10,), "int32"), y: T.Buffer((10,), "int32")):
    t = T.sblock_alloc_buffer((10,), "int32")
    for i in range(10):
        with T.sblock("t"):
            vi = T.axis.spatial(10, i)
            t[vi] = x[vi] + 1
    for i in range(10):
        with T.sblock("y"):
            vi = T.axis.spatial(10, i)
            y[vi] = t[vi] + 1


def test_vectors_and_their_tail_are_loops_and_nothing_else_is() -> None:
    sch = s_tir.Schedule(twice)
    first, second = (sch.get_loops(sch.get_sblock(name))[0] for name in "ty")
    outer, inner = sch.split(sch.merge(first, second), [None, 4])
    sch.vectorize(inner)
    for loop in (outer, inner):
        sch.annotate(loop, "pragma_loop_partition_hint", 1)
    found = loops(lowered(sch.mod["main"]))
    assert sorted(int(loop.extent) for loop in found) == [2, 2, 4]
    assert "if " not in lowered(sch.mod["main"]).script()


@T.prim_func(private=True, s_tir=True)
def row_sums(x: T.Buffer((4, 3), "float32"), y: T.Buffer((4,), "float32")):
    for i, k in T.grid(4, 3):
        with T.sblock("sum"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                y[vi] = T.float32(0)
            y[vi] = y[vi] + x[vi, vk]


def zeros_of_row_sums(scope: str, written_out: int) -> int:
    """How many sums start from 0, of two at a time, with so many terms written out."""
    sch = s_tir.Schedule(row_sums)
    block = sch.get_sblock("sum")
    results = sch.cache_write(block, 0, scope)
    i, k = sch.get_loops(block)
    i, tile = sch.split(i, [None, 2])
    k, terms = sch.split(k, [None, written_out])
    sch.reorder(i, k, terms, tile)
    sch.reverse_compute_at(results, i)
    start = sch.decompose_reduction(block, k)
    for loop in (tile, terms, sch.get_loops(start)[-1]):
        sch.unroll(loop)
    return lowered(sch.mod["main"]).script().count("T.float32(0.0)")


def test_sums_in_registers_start_from_their_first_term() -> None:
    assert zeros_of_row_sums("local", 3) == 0
    assert zeros_of_row_sums("local", 1) == 2  # in a loop there is no first term
    assert zeros_of_row_sums("global", 3) == 2  # where others may read it
