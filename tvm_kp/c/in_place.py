"""Which outputs of an operator may be written over one of its inputs."""

from __future__ import annotations

from collections.abc import Iterator

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad


def may_overwrite(function: tirx.PrimFunc, source: int, target: int) -> bool:
    """Whether parameter ``target`` may be the memory of parameter ``source``.

    True if the lowered function is one loop nest whose only store to ``target`` comes after
    every read of ``source`` in the same iteration, at the same index.
    """
    names = {function.params[source]: "source", function.params[target]: "target"}
    statements = _innermost(function.body, names)
    if statements is None:
        return False
    reads, stores = [], []
    for position, stmt in enumerate(statements):
        if isinstance(stmt, tirx.BufferStore) and names.get(stmt.buffer) == "target":
            stores.append((position, stmt.indices))
        reads += [
            (position, load.indices) for load in _loads(stmt) if names.get(load.source) == "source"
        ]
    if len(stores) != 1:
        return False
    position, indices = stores[0]
    return all(read <= position and tvm_ffi.structural_equal(at, indices) for read, at in reads)


def _innermost(stmt: tirx.Stmt, names: dict[tvm.ir.Var, str]) -> list[tirx.Stmt] | None:
    """The statements of the innermost loop of a perfect loop nest; None if it is none."""
    parts = list(stmt.seq) if isinstance(stmt, tirx.SeqStmt) else [stmt]
    for part in parts:
        if isinstance(part, tirx.DeclBuffer) and isinstance(part.data, tvm.ir.Call):
            role = names.get(part.data.args[0])
            if role is not None:
                names[part.buffer] = role
    parts = [p for p in parts if not isinstance(p, (tirx.DeclBuffer, tirx.AllocBuffer))]
    loops = [part for part in parts if isinstance(part, tirx.For)]
    if not loops:
        return parts
    return _innermost(loops[0].body, names) if len(parts) == 1 else None


def _loads(stmt: tirx.Stmt) -> Iterator[TensorLoad]:
    loads: list[TensorLoad] = []
    tvm_ffi.structural_walk(stmt, (TensorLoad, loads.append))
    return iter(loads)
