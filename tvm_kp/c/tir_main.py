"""``Program`` -> one TIR PrimFunc that calls the operators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx

from tvm_kp.c.program import Buffer, Call, Copy, Loop, Program, View, Zero


@dataclass(frozen=True)
class TirMain:
    """``function`` takes a pointer for every root buffer, in the order of ``buffers``."""

    function: tirx.PrimFunc
    buffers: tuple[Buffer, ...]


def tir_main(program: Program) -> TirMain:
    """Inputs and outputs come first among the parameters, then workspace and constants."""
    roots = dict.fromkeys([*program.inputs, *program.outputs])
    for statement, _ in program.flat():
        for view in (*statement.inputs, *statement.outputs):
            roots.setdefault(view.location()[0])
    params = {
        root: tirx.decl_buffer((max(1, _elements(root)),), root.dtype, root.name) for root in roots
    }
    body = [_statement(statement, params) for statement in program.body]
    function = tirx.PrimFunc(list(params.values()), tirx.stmt_seq(*body))
    return TirMain(function.with_attr("global_symbol", "__tvm_main__"), tuple(roots))


def _statement(
    statement: Call | Copy | Zero | Loop,
    params: dict[Buffer, tirx.Var],
    t: tirx.Var | None = None,
) -> tirx.Stmt:
    if isinstance(statement, Loop):
        t = tirx.Var("t", "int32")
        body = [_statement(inner, params, t) for inner in statement.body]
        return tirx.For(t, 0, statement.steps, tirx.ForKind.SERIAL, tirx.stmt_seq(*body))
    pointers = [_pointer(v, params, t) for v in (*statement.inputs, *statement.outputs)]
    if isinstance(statement, Call):
        call = tirx.call_extern("int32", statement.function, *pointers)
    elif isinstance(statement, Copy):
        source, target = pointers
        call = tirx.call_extern("handle", "memcpy", target, source, statement.source.nbytes)
    else:
        call = tirx.call_extern("handle", "memset", *pointers, 0, statement.target.nbytes)
    return tirx.Evaluate(call)


def _pointer(view: View, params: dict[Buffer, tirx.Var], t: tirx.Var | None) -> tirx.Expr:
    root, offset = view.location()
    itemsize = np.dtype(root.dtype).itemsize
    index = offset // itemsize
    if view.stride and t is not None:
        index = t * (view.stride // itemsize) + index
    return params[root].ptr_to([index])


def _elements(buffer: Buffer) -> int:
    return buffer.nbytes // np.dtype(buffer.dtype).itemsize
