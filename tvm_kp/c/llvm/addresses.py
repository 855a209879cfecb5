"""Let neighbors in memory be offsets from one address.

LLVM takes ``16 * i + 1`` and ``16 * i + 2`` for two addresses, which are computed one by one and
take a register each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr, TensorLoad, Var
from tvm.tirx import IntImm


class _Place(NamedTuple):
    """``start + offset`` of a buffer."""

    buffer: Var
    start: Expr
    offset: int

    @property
    def key(self) -> tuple[Var, int]:
        return self.buffer, tvm_ffi.structural_hash(self.start)


def share_addresses(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """``… = b[e + 1] + b[e + 2]`` in a loop -> ``p = &b[e]; … = p[1] + p[2]``."""
    return function.with_body(tvm_ffi.structural_map(function.body, (tirx.For, _shared)))


def _shared(loop: tirx.For) -> tirx.For:
    """``loop``, whose inner loops share addresses already."""
    inside = _bound(loop.body)
    places = [
        p for p in _places(loop.body) if p.buffer not in inside and not _changes(p.start, inside)
    ]
    starts = {place.key: place for place in places if place.offset}
    views = {
        key: tirx.decl_buffer(
            place.buffer.shape, str(place.buffer.dtype), f"{place.buffer.name}_near"
        )
        for key, place in starts.items()
    }

    def view(buffer: Var, indices: Sequence[Expr]) -> tuple[Var, list[Expr]]:
        place = _place(buffer, indices)
        if place is None or place.key not in views:
            return buffer, list(indices)
        return views[place.key], [tirx.const(place.offset, "int32")]

    body = tvm_ffi.structural_map(
        loop.body,
        (
            (TensorLoad, lambda load: tirx.BufferLoad(*view(load.source, load.indices))),
            (tirx.BufferStore, lambda store: _stored(store, *view(store.buffer, store.indices))),
        ),
    )
    declared = [
        tirx.DeclBuffer(views[key], data=tirx.address_of(tirx.BufferLoad(p.buffer, [p.start])))
        for key, p in starts.items()
    ]
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, tirx.stmt_seq(*declared, body))


def _stored(store: tirx.BufferStore, buffer: Var, indices: list[Expr]) -> tirx.Stmt:
    return tirx.BufferStore(buffer, store.value, indices)


def _place(buffer: Var, indices: Sequence[Expr]) -> _Place | None:
    """Where an element is that a variable says where to find."""
    (index,) = indices
    if isinstance(index, tirx.Add) and isinstance(index.b, IntImm):
        return _Place(buffer, index.a, int(index.b))
    return None if isinstance(index, IntImm | tirx.Ramp) else _Place(buffer, index, 0)


def _places(stmt: tirx.Stmt) -> list[_Place]:
    found: list[_Place | None] = []
    tvm_ffi.structural_walk(
        stmt,
        (
            (TensorLoad, lambda load: found.append(_place(load.source, load.indices))),
            (tirx.BufferStore, lambda store: found.append(_place(store.buffer, store.indices))),
        ),
    )
    return [place for place in found if place is not None]


def _bound(stmt: tirx.Stmt) -> set[Var]:
    """The variables and buffers that are defined in ``stmt``."""
    found: set[Var] = set()
    tvm_ffi.structural_walk(
        stmt,
        (
            (tirx.For, lambda loop: found.add(loop.loop_var)),
            (tirx.Bind, lambda bind: found.add(bind.var)),
            (tirx.AllocBuffer, lambda alloc: found.add(alloc.buffer)),
            (tirx.DeclBuffer, lambda decl: found.add(decl.buffer)),
        ),
    )
    return found


def _changes(expr: Expr, variables: set[Var]) -> bool:
    """Whether ``expr`` may differ in a loop that defines ``variables``: memory is not looked at."""
    found: list[bool] = []
    tvm_ffi.structural_walk(
        expr,
        (
            (Var, lambda var: found.append(var in variables)),
            (TensorLoad, lambda _: found.append(True)),
        ),
    )
    return any(found)
