"""Turn runs of consecutive float loads or stores into one load- or store-multiple.

The FPU of a Cortex-M moves up to eight consecutive floats with one instruction (VLDM, VSTM);
no compiler makes one of array accesses, so they are calls of helpers that the C printer knows.
The registers are the helper's: sums lie in others, so they would have to be copied, which takes
longer than to load and store them one by one.
"""

from __future__ import annotations

from collections.abc import Collection

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad, Var
from tvm.sym import Analyzer

LONGEST = 8
SHORTEST = 2


def use_load_multiple(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """``d[0] = s[i]; d[1] = s[i+1]; …`` -> ``kp_load<n>(&d[0], &s[i])`` and the like.

    One side must be a local array (registers), the other memory. Left unchanged: single
    elements, other types than float32, indices that are not consecutive, and sums.
    """
    sums = _sums(function)

    def merged(sequence: tirx.SeqStmt) -> tirx.Stmt:
        return _merged(sequence, sums)

    return tvm_ffi.structural_map(function, (tirx.SeqStmt, merged))


def _sums(function: tirx.PrimFunc) -> set[Var]:
    """The buffers to whose elements something is added."""
    found: set[Var] = set()

    def note(store: tirx.BufferStore) -> None:
        added_to = store.value.a if isinstance(store.value, tirx.Add) else None
        if isinstance(added_to, TensorLoad) and added_to.source.same_as(store.buffer):
            found.add(store.buffer)

    tvm_ffi.structural_walk(function.body, (tirx.BufferStore, note))
    return found


def _merged(sequence: tirx.SeqStmt, sums: Collection[Var]) -> tirx.Stmt:
    result: list[tirx.Stmt] = []
    run: list[tirx.BufferStore] = []
    for stmt in sequence.seq:
        if run and (len(run) == LONGEST or not _continues(run[-1], stmt)):
            result += _move(run)
            run = []
        if run or _is_move(stmt, sums):
            run.append(stmt)
        else:
            result.append(stmt)
    return tirx.stmt_seq(*result, *_move(run))


def _move(run: list[tirx.BufferStore]) -> list[tirx.Stmt]:
    if len(run) < SHORTEST:
        return list(run)
    store = run[0]
    verb = "load" if store.buffer.scope() == "local" else "store"
    target, source = (
        tirx.address_of(tirx.BufferLoad(buffer, list(indices)))
        for buffer, indices in (
            (store.buffer, store.indices),
            (store.value.source, store.value.indices),
        )
    )
    return [tirx.Evaluate(tirx.call_extern("int32", f"kp_{verb}{len(run)}", target, source))]


def _is_move(stmt: tirx.Stmt, sums: Collection[Var] = ()) -> bool:
    if not isinstance(stmt, tirx.BufferStore) or not isinstance(stmt.value, TensorLoad):
        return False
    sides = (stmt.buffer, stmt.value.source)
    if any(side in sums for side in sides):
        return False
    if any(str(side.dtype) != "float32" for side in sides):
        return False
    return [side.scope() for side in sides].count("local") == 1


def _continues(last: tirx.BufferStore, stmt: tirx.Stmt) -> bool:
    """Whether ``stmt`` moves the element after ``last``'s between the same two buffers."""
    if not _is_move(stmt):
        return False
    same = stmt.buffer.same_as(last.buffer) and stmt.value.source.same_as(last.value.source)
    return (
        same
        and _difference(stmt.indices[0], last.indices[0]) == 1
        and _difference(stmt.value.indices[0], last.value.indices[0]) == 1
    )


def _difference(a: tvm.ir.Expr, b: tvm.ir.Expr) -> int | None:
    difference = Analyzer().simplify(a - b)
    return int(difference) if isinstance(difference, tirx.IntImm) else None
