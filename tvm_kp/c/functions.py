"""Lowered PrimFuncs -> C functions."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from functools import singledispatchmethod

import tvm
from tvm import tirx
from tvm.ir import Call, Var
from tvm.sym import Analyzer

from tvm_kp.c.buffers import pointed, tables, used_buffers, written_buffers
from tvm_kp.c.expressions import C_TYPES, Expressions
from tvm_kp.c.names import c_name
from tvm_kp.c.vectors import Vectors, is_vector
from tvm_kp.errors import ModelError
from tvm_kp.fixedpoint import TABLE_INTERVALS

# What is left of a loop over vectors of integers, fewer than one has, is an ordinary loop.
_LOOPS = (tirx.ForKind.SERIAL, tirx.ForKind.UNROLLED, tirx.ForKind.VECTORIZED)


class FunctionPrinter:
    """Prints one PrimFunc; ``helpers`` and ``libm`` tell afterwards what the text needs."""

    def __init__(self, function: tirx.PrimFunc, names: Mapping[Var, str] | None = None) -> None:
        self._function = function
        self._names: dict[Var, str] = {}
        self._taken: set[str] = set()
        self._middles: dict[Var, str] = {}
        for param in function.params:
            self._name(param, (names or {}).get(param))
        self._used = used_buffers(function)
        self._ranges = Analyzer()
        self._expressions: Expressions | Vectors = Expressions(
            self._names, self._ranges, self._middles
        )
        self._tables = tables(function)
        for table in self._tables:
            self._middles[table] = self._unique(f"{self._names[table]}_middle")

    @property
    def helpers(self) -> set[str]:
        return self._expressions.helpers

    @property
    def libm(self) -> set[str]:
        return self._expressions.libm

    def parameters(self, aliased: Collection[int] = ()) -> str:
        """The C parameter list; those at the indices ``aliased`` may share memory."""
        written = written_buffers(self._function)
        return ", ".join(
            f"{'' if param in written else 'const '}{C_TYPES[str(param.dtype)]} *"
            f"{'' if index in aliased else 'restrict '}{self._names[param]}"
            for index, param in enumerate(self._function.params)
        )

    def body(self) -> list[str]:
        """The lines of the function's body.

        Where tables are read from is computed first: in a loop GCC would add it at every access.
        """
        middles = [
            f"  const int16_t *const {self._middles[table]} = "
            f"{self._names[table]} + {TABLE_INTERVALS // 2};"
            for table in self._tables
        ]
        return [*middles, *self.lines(self._function.body, "  ")]

    @singledispatchmethod
    def lines(self, stmt: tirx.Stmt, indent: str) -> Iterator[str]:
        """``stmt`` in C; raises ``ModelError`` for a statement that has no C here."""
        raise ModelError(f"the statement {type(stmt).__name__} cannot be written in C")

    @lines.register
    def _(self, stmt: tirx.SeqStmt, indent: str) -> Iterator[str]:
        for inner in stmt.seq:
            yield from self.lines(inner, indent)

    @lines.register
    def _(self, stmt: tirx.For, indent: str) -> Iterator[str]:
        if stmt.kind == tirx.ForKind.VECTORIZED and is_vector(stmt):
            yield from self._vector_lines(stmt, indent)
            return
        if stmt.kind not in _LOOPS:
            raise ModelError(f"a loop of kind {stmt.kind} cannot be written in C")
        self._ranges.bind(stmt.loop_var, tvm.ir.Range.from_min_extent(stmt.min, stmt.extent))
        name = self._name(stmt.loop_var)
        start, end = (self._expressions.text(e) for e in (stmt.min, self._end(stmt)))
        yield f"{indent}for (int32_t {name} = {start}; {name} < {end}; ++{name}) {{"
        yield from self.lines(stmt.body, indent + "  ")
        yield f"{indent}}}"

    @lines.register
    def _(self, stmt: tirx.IfThenElse, indent: str) -> Iterator[str]:
        yield f"{indent}if ({self._expressions.text(stmt.condition)}) {{"
        yield from self.lines(stmt.then_case, indent + "  ")
        if stmt.else_case is not None:
            yield f"{indent}}} else {{"
            yield from self.lines(stmt.else_case, indent + "  ")
        yield f"{indent}}}"

    @lines.register
    def _(self, stmt: tirx.BufferStore, indent: str) -> Iterator[str]:
        yield f"{indent}{self._expressions.store(stmt.buffer, stmt.indices[0], stmt.value)};"

    @lines.register
    def _(self, stmt: tirx.AllocBuffer, indent: str) -> Iterator[str]:
        if stmt.buffer not in self._used:
            return
        name = self._name(stmt.buffer)
        size = math.prod(int(extent) for extent in stmt.buffer.shape)
        if size == 1:
            self._expressions.scalars.add(stmt.buffer)
        extent = "" if size == 1 else f"[{size}]"
        yield f"{indent}{self._expressions.c_type(str(stmt.buffer.dtype))} {name}{extent};"

    @lines.register
    def _(self, stmt: tirx.DeclBuffer, _indent: str) -> Iterator[str]:
        # Another shape of memory that has a name already.
        origin = pointed(stmt.data)
        self._names[stmt.buffer] = self._names[origin]
        if origin in self._middles:
            self._middles[stmt.buffer] = self._middles[origin]
        yield from ()

    @lines.register
    def _(self, stmt: tirx.Bind, indent: str) -> Iterator[str]:
        value = self._expressions.text(stmt.value)
        name = self._name(stmt.var)
        yield f"{indent}const {C_TYPES[str(stmt.var.ty.dtype)]} {name} = {value};"

    @lines.register
    def _(self, stmt: tirx.AttrStmt, indent: str) -> Iterator[str]:
        yield from self.lines(stmt.body, indent)

    @lines.register
    def _(self, stmt: tirx.Evaluate, indent: str) -> Iterator[str]:
        if isinstance(stmt.value, Call):
            yield f"{indent}{self._expressions.text(stmt.value)};"

    def _vector_lines(self, loop: tirx.For, indent: str) -> Iterator[str]:
        scalar = self._expressions
        assert isinstance(scalar, Expressions)
        self._expressions = Vectors(scalar, loop.loop_var, int(loop.extent))
        yield from self.lines(loop.body, indent)
        self._expressions = scalar

    def _end(self, stmt: tirx.For) -> tvm.ir.Expr:
        return self._ranges.simplify(stmt.min + stmt.extent)

    def _readable(self, name: str) -> str:
        """The name without TVM's affixes; a tile of a parameter is named after the parameter."""
        for param in self._function.params:
            if name.startswith(f"{param.name}_"):
                return self._names[param] + name.removeprefix(param.name)
        name = name.removeprefix("T_").replace("_intermediate", "").replace("_fused", "")
        return re.sub(r"(_\d+)+$", "", name)

    def _name(self, var: Var, wanted: str | None = None) -> str:
        """A C identifier for ``var`` that no other variable of the function has."""
        self._names[var] = self._unique(wanted or c_name(self._readable(var.name)))
        return self._names[var]

    def _unique(self, base: str) -> str:
        name, count = base, 0
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name
