"""Large temporaries of a function become parameters, so that the caller plans their memory."""

from __future__ import annotations

import math

import numpy as np
import tvm_ffi
from tvm import tirx

# What an operator may hold in registers and on the stack; more is planned with the workspace.
STACK_BYTES = 64


def hoist_allocations(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """``alloc t[n]; …`` -> ``t`` as a parameter after all others, for more than STACK_BYTES.

    Left unchanged: register tiles (scope ``local``) and small temporaries.
    """
    hoisted: list[tirx.Var] = []

    def without_large(sequence: tirx.SeqStmt) -> tirx.Stmt:
        kept = []
        for stmt in sequence.seq:
            if isinstance(stmt, tirx.AllocBuffer) and _is_large(stmt.buffer):
                hoisted.append(stmt.buffer)
            else:
                kept.append(stmt)
        return tirx.stmt_seq(*kept)

    body = tvm_ffi.structural_map(function.body, (tirx.SeqStmt, without_large))
    if not hoisted:
        return function
    return tirx.PrimFunc([*function.params, *hoisted], body, function.ret_type, function.attrs)


def _is_large(buffer: tirx.Var) -> bool:
    nbytes = math.prod(int(size) for size in buffer.shape) * np.dtype(str(buffer.dtype)).itemsize
    return buffer.scope() == "global" and nbytes > STACK_BYTES
