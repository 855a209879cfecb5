"""PrimFuncs over buffers -> functions of plain pointers, which TVM's packed calls are not."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx
from tvm.ir import PointerType, PrimType, Var


def pointer_to(buffer: Var) -> Var:
    """A pointer to elements of ``buffer``, called like it."""
    return Var(buffer.name, PointerType(PrimType(str(buffer.dtype)), "global"))


def declared(buffers: Sequence[Var], pointers: Sequence[tirx.Expr]) -> list[tirx.Stmt]:
    """Statements that say that each of ``buffers`` is what its pointer points to."""
    pairs = zip(buffers, pointers, strict=True)
    return [tirx.DeclBuffer(buffer, data=pointer) for buffer, pointer in pairs]


def with_pointers(function: tirx.PrimFunc, symbol: str, apart: bool) -> tirx.PrimFunc:
    """``void symbol(…)`` that takes a pointer for every buffer that ``function`` takes.

    ``apart`` says that no two of them share memory.
    """
    pointers = [pointer_to(buffer) for buffer in function.params]
    body = tirx.stmt_seq(*declared(function.params, pointers), function.body)
    made = tirx.PrimFunc(pointers, body).with_attr("global_symbol", symbol)
    return made.with_attr("tirx.noalias", True) if apart else made
