"""Which buffers a lowered function reads and writes, and which of them are one memory."""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, TensorLoad, Var

# Helpers that write to what their first argument points to.
_WRITERS = (
    *("kp_product", "kp_widen", "kp_interleave", "kp_adjoin"),
    *("kp_dots", "kp_columns", "kp_outer", "kp_stationary", "kp_sums"),
)


def written_buffers(function: tirx.PrimFunc) -> set[Var]:
    """The parameters that ``function`` writes to."""
    origin = origins(function)
    written: set[Var] = set()

    def write(buffer: Var) -> None:
        if buffer in origin:
            written.add(origin[buffer])

    def call(expr: Call) -> None:
        if expr.op.name == "tirx.call_extern" and expr.args[0].value.startswith(_WRITERS):
            write(expr.args[1].args[0].source)

    tvm_ffi.structural_walk(
        function.body,
        ((tirx.BufferStore, lambda stmt: write(stmt.buffer)), (Call, call)),
    )
    return written


def used_buffers(function: tirx.PrimFunc) -> set[Var]:
    """The buffers of which some element is read or written."""
    used: set[Var] = set()
    tvm_ffi.structural_walk(
        function.body,
        (
            (tirx.BufferStore, lambda stmt: used.add(stmt.buffer)),
            (TensorLoad, lambda load: used.add(load.source)),
        ),
    )
    return used


def tables(function: tirx.PrimFunc) -> list[Var]:
    """The parameters from which functions are interpolated."""
    origin = origins(function)
    found: dict[Var, None] = {}

    def note(call: Call) -> None:
        if call.op.name == "tirx.kp_interpolate":
            found[origin[call.args[0].source]] = None

    tvm_ffi.structural_walk(function.body, (Call, note))
    return list(found)


def origins(function: tirx.PrimFunc) -> dict[Var, Var]:
    """The parameters by themselves and by the buffers that are other shapes of them."""
    origin: dict[Var, Var] = {param: param for param in function.params}

    def declare(stmt: tirx.DeclBuffer) -> None:
        origin[stmt.buffer] = origin[pointed(stmt.data)]

    tvm_ffi.structural_walk(function.body, (tirx.DeclBuffer, declare), order="pre")
    return origin


def pointed(data: tvm.ir.Expr) -> Var:
    """The buffer that ``data`` of a declaration points to."""
    return data.args[0] if isinstance(data, Call) else data
