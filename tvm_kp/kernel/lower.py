"""From scheduled blocks to plain loops over flat buffers."""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Var


def lower(mod: tvm.IRModule) -> tvm.IRModule:
    """Lower every PrimFunc of ``mod`` to loops, flat buffers and 32-bit indices.

    What is left is the subset of TIR that the C printer knows; loops marked as unrolled are
    written out, tiles that a loop does not fill are loops of their own.
    """
    config = {
        "s_tir.LoopPartition": {
            "partition_const_loop": True,
            "no_unroll_loop_with_extent_one": False,
        },
        "tirx.UnrollLoop": {"auto_max_extent": 1, "explicit_unroll": True},
    }
    with tvm.transform.PassContext(config=config):
        return tvm.transform.Sequential(
            [
                tirx.transform.Apply(_narrow_indices),
                s_tir.transform.CanonicalizeLoop(),
                s_tir.transform.LowerInitBlock(),
                s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
                s_tir.transform.ConvertBlocksToOpaque(),
                s_tir.transform.CompactBufferAllocation(),
                s_tir.transform.LowerMatchBuffer(),
                s_tir.transform.StmtSimplify(),
                s_tir.transform.LowerOpaqueBlock(),
                tirx.transform.FlattenBuffer(),
                tirx.transform.NarrowDataType(32),
                s_tir.transform.LoopPartition(),
                tirx.transform.UnrollLoop(),
                tirx.transform.StmtSimplify(),
                tirx.transform.RemoveNoOp(),
                tirx.transform.Apply(_without_empty_loops),
                tirx.transform.RemoveNoOp(),
            ],
            name="kp.lower",
        )(mod)


def _narrow_indices(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """32-bit loops and indices; a function with 64-bit data is left to ``NarrowDataType``."""
    wide: list[Var] = []

    def note(buffer: Var) -> None:
        if isinstance(buffer.ty, tirx.BufferType) and str(buffer.dtype) == "int64":
            wide.append(buffer)

    tvm_ffi.structural_walk(function, (Var, note))
    if wide:
        return function
    narrowed = tirx.transform.ForceNarrowIndexToInt32()(tvm.IRModule({"main": function}))
    return narrowed["main"]


def _without_empty_loops(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """No loops that only allocate: what ``LoopPartition`` leaves beside a tail."""

    def removed(loop: tirx.For) -> tirx.Stmt:
        stmts = loop.body.seq if isinstance(loop.body, tirx.SeqStmt) else [loop.body]
        empty = all(isinstance(stmt, tirx.AllocBuffer) for stmt in stmts)
        return tirx.Evaluate(0) if empty else loop

    return function.with_body(tvm_ffi.structural_map(function.body, (tirx.For, removed)))
