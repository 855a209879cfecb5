"""The functions that a caller uses, in TIR: pointers to all buffers, then what main does."""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import PointerType, PrimType, Var

from tvm_kp.c.emission import Emission
from tvm_kp.c.llvm.data import BEHIND, CONSTANT, FIELD, WORKSPACE, places
from tvm_kp.c.llvm.pointers import declared
from tvm_kp.c.program import Buffer, Call
from tvm_kp.c.tir_main import TirMain


def entries(emission: Emission, hooks: bool) -> dict[str, tirx.PrimFunc]:
    """The entry, and ``reset`` of a stream, by their symbols.

    With ``hooks`` every operator is called between hooks, the last of which see its results.
    """
    entry = _Entry(emission, hooks)
    main = emission.symbol("step" if emission.states else "run")
    found = {main: entry.function(main, emission.main, entry.parameters)}
    if emission.reset is not None:
        reset = emission.symbol("reset")
        found[reset] = entry.function(reset, emission.reset, ["state"])
    return found


class _Entry:
    def __init__(self, emission: Emission, hooks: bool) -> None:
        self._emission, self._hooks = emission, hooks
        self._constants = places(emission.constants, emission.alignment)
        self._states = places(emission.states, emission.alignment)
        calls = (s for s, _ in emission.program.flat() if isinstance(s, Call))
        self._calls = {call.function: call for call in calls}

    @property
    def parameters(self) -> list[str]:
        """Those of the entry, as the header has them."""
        emission = self._emission
        names = [] if emission.workspace_io else ["inputs", "outputs"]
        names += ["state"] if emission.states else []
        return names + (["pools"] if emission.memory.pools else [])

    def function(self, symbol: str, main: TirMain, parameters: list[str]) -> tirx.PrimFunc:
        """``int32_t symbol(…)``, which makes what ``main`` takes of ``parameters``."""
        params = {name: Var(name, PointerType(PrimType("int8"))) for name in parameters}
        lie = {buffer: self._place(buffer, params) for buffer in main.buffers}
        pointers = [Var(buffer.name, place.ty) for buffer, place in lie.items()]
        bound = [tirx.Bind(*pair) for pair in zip(pointers, lie.values(), strict=True)]
        body = tvm_ffi.structural_map(main.function.body, (tirx.Evaluate, self._hooked))
        statements = [*bound, *declared(main.function.params, pointers), body]
        made = tirx.PrimFunc(list(params.values()), tirx.stmt_seq(*statements), PrimType("int32"))
        return made.with_attr("global_symbol", symbol)

    def _place(self, buffer: Buffer, params: dict[str, Var]) -> tirx.Expr:
        """Where a buffer lies."""
        program = self._emission.program
        if buffer in self._emission.memory.places:
            pool, offset = self._emission.memory.places[buffer]
            if not pool:
                return _pointer(WORKSPACE, offset)
            index = list(self._emission.memory.pools).index(pool)
            return _pointer(BEHIND, _pointer(FIELD, params["pools"], index), offset)
        if buffer in self._constants:
            return _pointer(CONSTANT, self._constants[buffer])
        if buffer in self._states:
            return _pointer(BEHIND, params["state"], self._states[buffer])
        kind, tensors = (
            ("inputs", program.inputs) if buffer in program.inputs else ("outputs", program.outputs)
        )
        return _pointer(FIELD, params[kind], tensors.index(buffer))

    def _hooked(self, stmt: tirx.Evaluate) -> tirx.Stmt:
        """The statement that calls an operator, by its symbol."""
        name, *pointers = stmt.value.args
        call = self._calls.get(name.value)
        if call is None:
            return stmt
        called = _call(self._emission.symbol(call.function), *pointers)
        if not self._hooks:
            return called
        op = self._emission.order.index(call.function)
        traces = (
            _call("tvmgen_trace", op, output, pointers[len(call.inputs) + output], view.nbytes)
            for output, view in enumerate(call.results)
        )
        begin, end = (_call(f"tvmgen_profile_{what}", op) for what in ("begin", "end"))
        return tirx.stmt_seq(begin, called, end, *traces)


def _pointer(function: str, *args: Any) -> tirx.Expr:
    return tirx.call_extern("handle", function, *args)


def _call(function: str, *args: Any) -> tirx.Stmt:
    return tirx.Evaluate(tirx.call_extern("void", function, *args))
