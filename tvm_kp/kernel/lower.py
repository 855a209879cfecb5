"""From scheduled blocks to plain loops over flat buffers."""

from __future__ import annotations

from collections.abc import Sequence

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Expr, TensorLoad, Var
from tvm.tirx import FloatImm, IntImm

_Element = tuple[Var, int]


def lower(mod: tvm.IRModule) -> tvm.IRModule:
    """Lower every PrimFunc of ``mod`` to loops, flat buffers and 32-bit indices.

    What is left is the subset of TIR that the C printer knows; loops marked as unrolled are
    written out, tiles that a loop does not fill are loops of their own, and sums whose terms are
    all written out start from the first of them.
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
                tirx.transform.Apply(_from_first_terms),
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


def _from_first_terms(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """``s = 0; …; s = s + t`` -> ``…; s = t`` for sums in registers, unless a loop lies between."""
    return function.with_body(tvm_ffi.structural_map(function.body, (tirx.SeqStmt, _first_terms)))


def _first_terms(sequence: tirx.SeqStmt) -> tirx.Stmt:
    kept = dict(enumerate(sequence.seq))
    zeros: dict[_Element, int] = {}  # where there is one that nothing was added to
    for place, stmt in enumerate(sequence.seq):
        if isinstance(stmt, tirx.AllocBuffer):
            continue
        if not isinstance(stmt, tirx.BufferStore):
            zeros.clear()
            continue
        element, value = _element(stmt.buffer, stmt.indices), stmt.value
        if isinstance(value, tirx.Add) and isinstance(value.a, TensorLoad):
            added_to = _element(value.a.source, value.a.indices)
            if added_to == element and element in zeros:
                value = value.b
                del kept[zeros.pop(element)]
                kept[place] = tirx.BufferStore(stmt.buffer, value, list(stmt.indices))
        for other in zeros.keys() & {element, *_read(value)}:
            del zeros[other]
        if isinstance(value, FloatImm | IntImm) and value.value == 0 and element is not None:
            zeros[element] = place
    return tirx.stmt_seq(*kept.values())


def _read(value: Expr) -> list[_Element | None]:
    found: list[_Element | None] = []
    tvm_ffi.structural_walk(
        value, (TensorLoad, lambda load: found.append(_element(load.source, load.indices)))
    )
    return found


def _element(buffer: Var, indices: Sequence[Expr]) -> _Element | None:
    """Of a buffer in registers, which is never indexed by a variable."""
    if buffer.scope() != "local" or not isinstance(indices[0], IntImm):
        return None
    return buffer, int(indices[0])
