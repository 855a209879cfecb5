"""Which outputs of an operator may be written over one of its inputs, and which over a state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.ir import TensorLoad

VIEWS = ("relax.reshape", "relax.concat", "relax.split", "relax.strided_slice")


def may_overwrite(function: tirx.PrimFunc, source: int, target: int) -> bool:
    """Whether parameter ``target`` may be the memory of parameter ``source``.

    True if the lowered function is loop nests that store every element of ``target`` once, after
    every read of ``source`` in the same iteration, at the same index: a loop, or one and its tail.
    """
    params = function.params
    names = {params[source]: "source", params[target]: "target"}
    nests = _nests(function.body, names)
    stored = sum(_iterations(nest) for nest in nests)
    if len(nests) > 1 and stored != math.prod(int(size) for size in params[target].shape):
        return False
    return all(_stores_last(_innermost(nest, names), names) for nest in nests)


def _stores_last(statements: list[tirx.Stmt] | None, names: dict[tvm.ir.Var, str]) -> bool:
    """Whether the only store comes after every read, at the same index."""
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


def _nests(stmt: tirx.Stmt, names: dict[tvm.ir.Var, str]) -> list[tirx.Stmt]:
    """The loop nests that follow each other; what is no loop is one for itself, together."""
    parts = _parts(stmt, names)
    loops = [part for part in parts if isinstance(part, tirx.For)]
    rest = [part for part in parts if not isinstance(part, tirx.For)]
    return [*loops, *([tirx.stmt_seq(*rest)] if rest else [])]


def _iterations(stmt: tirx.Stmt) -> int:
    return int(stmt.extent) * _iterations(stmt.body) if isinstance(stmt, tirx.For) else 1


def _parts(stmt: tirx.Stmt, names: dict[tvm.ir.Var, str]) -> list[tirx.Stmt]:
    """The statements without declarations, which give a buffer of ``names`` another one."""
    parts = list(stmt.seq) if isinstance(stmt, tirx.SeqStmt) else [stmt]
    for part in parts:
        if isinstance(part, tirx.DeclBuffer) and isinstance(part.data, tvm.ir.Call):
            role = names.get(part.data.args[0])
            if role is not None:
                names[part.buffer] = role
    return [p for p in parts if not isinstance(p, (tirx.DeclBuffer, tirx.AllocBuffer))]


def _innermost(stmt: tirx.Stmt, names: dict[tvm.ir.Var, str]) -> list[tirx.Stmt] | None:
    """The statements of the innermost loop of a perfect loop nest; None if it is none."""
    parts = _parts(stmt, names)
    loops = [part for part in parts if isinstance(part, tirx.For)]
    if not loops:
        return parts
    return _innermost(loops[0].body, names) if len(parts) == 1 else None


def _loads(stmt: tirx.Stmt) -> Iterator[TensorLoad]:
    loads: list[TensorLoad] = []
    tvm_ffi.structural_walk(stmt, (TensorLoad, loads.append))
    return iter(loads)


def successors(
    step: relax.Function, states: Sequence[relax.Var]
) -> dict[tuple[relax.Var, int], int]:
    """The results of calls that become a state's new value once nobody reads the old one.

    Keys are the variable a call is bound to and the index of its result, values the index of
    the state.
    """
    bindings = [binding for block in step.body.blocks for binding in block.bindings]
    bound = {binding.var: binding.value for binding in bindings}
    position = {binding.var: at for at, binding in enumerate(bindings)}
    fields = _fields(step.body.body, bound)
    found: dict[tuple[relax.Var, int], int] = {}
    for index, (state, field) in enumerate(zip(states, fields[-len(states) :], strict=True)):
        call = _call_result(field, bound)
        aliases = _aliases(state, bindings)
        reads = [position[b.var] for b in bindings if b.var not in aliases and _reads(b, aliases)]
        escapes = any(isinstance(other, relax.Var) and other in aliases for other in fields)
        if call is not None and not escapes and max(reads, default=-1) <= position[call[0]]:
            found.setdefault(call, index)
    return found


def _fields(expr: relax.Expr, bound: dict[relax.Var, relax.Expr]) -> list[relax.Expr]:
    while isinstance(expr, relax.Var):
        expr = bound[expr]
    return list(expr.fields)


def _call_result(
    expr: relax.Expr, bound: dict[relax.Var, relax.Expr]
) -> tuple[relax.Var, int] | None:
    """The call that computes ``expr``, which may be reshaped, and the index of the result."""
    index = 0
    while expr in bound:
        value = bound[expr]
        if isinstance(value, relax.TupleGetItem):
            expr, index = value.tuple_value, value.index
        elif isinstance(value, relax.Var):
            expr = value
        elif value.op.name == "relax.reshape":
            expr = value.args[0]
        else:
            return (expr, index) if value.op.name == "relax.call_tir" else None
    return None


def _aliases(state: relax.Var, bindings: Sequence[relax.VarBinding]) -> set[relax.Var]:
    """Every variable that may be the memory of ``state``, or a part of it."""
    found = {state}
    for binding in bindings:
        value = binding.value
        if isinstance(value, relax.Call) and value.op.name not in VIEWS:
            continue
        if _reads(binding, found):
            found.add(binding.var)
    return found


def _reads(binding: relax.VarBinding, of: set[relax.Var]) -> bool:
    found: list[relax.Var] = []
    tvm_ffi.structural_walk(binding.value, (relax.Var, found.append))
    return any(var in of for var in found)
