"""Let what is a scalar in a vectorized loop be a vector: TVM leaves allocations as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr, TensorLoad, Var

from tvm_kp.c.vectors import LANES


def widen_scalars(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """``for lane in vectorized(4): alloc t[1]; t[0] = …`` -> ``alloc t[4]; t[lane] = …``.

    What is left of a loop over vectors, fewer elements than one has, becomes an ordinary loop.
    """
    return function.with_body(tvm_ffi.structural_map(function.body, (tirx.For, _widened)))


def _widened(loop: tirx.For) -> tirx.For:
    if loop.kind != tirx.ForKind.VECTORIZED:
        return loop
    if int(loop.extent) % LANES:
        return tirx.For(loop.loop_var, loop.min, loop.extent, tirx.ForKind.SERIAL, loop.body)
    scalars: list[Var] = []

    def note(alloc: tirx.AllocBuffer) -> None:
        if math.prod(int(size) for size in alloc.buffer.shape) == 1:
            scalars.append(alloc.buffer)

    tvm_ffi.structural_walk(loop.body, (tirx.AllocBuffer, note))
    wide = {
        buffer: tirx.decl_buffer((loop.extent,), str(buffer.dtype), buffer.name)
        for buffer in scalars
    }

    def place(buffer: Var, indices: Sequence[Expr]) -> tuple[Var, list[Expr]]:
        if buffer in wide:
            return wide[buffer], [loop.loop_var]
        return buffer, list(indices)

    def stored(store: tirx.BufferStore) -> tirx.Stmt:
        buffer, indices = place(store.buffer, store.indices)
        return tirx.BufferStore(buffer, store.value, indices)

    body = tvm_ffi.structural_map(
        loop.body,
        (
            (TensorLoad, lambda load: tirx.BufferLoad(*place(load.source, load.indices))),
            (tirx.BufferStore, stored),
            (
                tirx.AllocBuffer,
                lambda alloc: tirx.AllocBuffer(wide.get(alloc.buffer, alloc.buffer)),
            ),
        ),
    )
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body)
