"""Statements of TIR that kernels are built from directly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx

Index = Any  # an expression or a number


def address(buffer: tirx.Buffer, index: Index) -> tirx.Expr:
    """A pointer to an element."""
    return tirx.address_of(tirx.BufferLoad(buffer, [index]))


def sequence(statements: Sequence[tirx.Stmt]) -> tirx.Stmt:
    """One statement after the other; at least one."""
    return statements[0] if len(statements) == 1 else tirx.stmt_seq(*statements)


def call(helper: str, *args: Index) -> tirx.Stmt:
    """A call of a C helper."""
    return tirx.Evaluate(tirx.call_extern("int32", helper, *args))


def repeat(name: str, extent: int, body: Callable[[Index], tirx.Stmt]) -> list[tirx.Stmt]:
    """``body`` for every number below ``extent``, which the C calls ``name``: no loop for one."""
    if extent <= 1:
        return [body(0)] if extent else []
    var = tirx.Var(name, "int32")
    return [loop(var, extent, body(var))]


def loop(var: tirx.Var, extent: int, body: tirx.Stmt) -> tirx.Stmt:
    """``body`` for every ``var`` below ``extent``."""
    return tirx.For(var, 0, extent, tirx.ForKind.SERIAL, body)
