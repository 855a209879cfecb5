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
