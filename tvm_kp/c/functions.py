"""Lowered PrimFuncs -> C functions."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from functools import singledispatchmethod

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, TensorLoad, Var
from tvm.sym import Analyzer

from tvm_kp.c.expressions import C_TYPES, Expressions
from tvm_kp.c.names import c_name
from tvm_kp.errors import ModelError


class FunctionPrinter:
    """Prints one PrimFunc; ``helpers`` and ``libm`` tell afterwards what the text needs."""

    def __init__(self, function: tirx.PrimFunc, names: Mapping[Var, str] | None = None) -> None:
        self._function = function
        self._names: dict[Var, str] = {}
        self._taken: set[str] = set()
        for param in function.params:
            self._name(param, (names or {}).get(param))
        self._used = _used_buffers(function)
        self._ranges = Analyzer()
        self._expressions = Expressions(self._names, self._ranges)

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
        """The lines of the function's body."""
        return list(self.lines(self._function.body, "  "))

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
        if stmt.kind not in (tirx.ForKind.SERIAL, tirx.ForKind.UNROLLED):
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
        target = self._expressions.element(stmt.buffer, stmt.indices[0])
        yield f"{indent}{target} = {self._expressions.text(stmt.value)};"

    @lines.register
    def _(self, stmt: tirx.AllocBuffer, indent: str) -> Iterator[str]:
        if stmt.buffer not in self._used:
            return
        name = self._name(stmt.buffer)
        size = math.prod(int(extent) for extent in stmt.buffer.shape)
        if size == 1:
            self._expressions.scalars.add(stmt.buffer)
        extent = "" if size == 1 else f"[{size}]"
        yield f"{indent}{C_TYPES[str(stmt.buffer.dtype)]} {name}{extent};"

    @lines.register
    def _(self, stmt: tirx.DeclBuffer, _indent: str) -> Iterator[str]:
        # Another shape of memory that has a name already.
        self._names[stmt.buffer] = self._names[_pointed(stmt.data)]
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
        base = wanted or c_name(self._readable(var.name))
        name, count = base, 0
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        self._names[var] = name
        return name


def written_buffers(function: tirx.PrimFunc) -> set[Var]:
    """The parameters that ``function`` writes to."""
    origin: dict[Var, Var] = {param: param for param in function.params}
    written: set[Var] = set()

    def write(buffer: Var) -> None:
        if buffer in origin:
            written.add(origin[buffer])

    def declare(stmt: tirx.DeclBuffer) -> None:
        origin[stmt.buffer] = origin[_pointed(stmt.data)]

    def call(expr: Call) -> None:
        if expr.op.name == "tirx.call_extern" and expr.args[0].value.startswith("kp_store"):
            write(expr.args[1].args[0].source)

    tvm_ffi.structural_walk(function.body, (tirx.DeclBuffer, declare), order="pre")
    tvm_ffi.structural_walk(
        function.body,
        ((tirx.BufferStore, lambda stmt: write(stmt.buffer)), (Call, call)),
    )
    return written


def _used_buffers(function: tirx.PrimFunc) -> set[Var]:
    used: set[Var] = set()
    tvm_ffi.structural_walk(
        function.body,
        (
            (tirx.BufferStore, lambda stmt: used.add(stmt.buffer)),
            (TensorLoad, lambda load: used.add(load.source)),
        ),
    )
    return used


def _pointed(data: tvm.ir.Expr) -> Var:
    return data.args[0] if isinstance(data, Call) else data
