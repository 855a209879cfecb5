"""Stacked recurrences over one sequence run in one loop, without the sequence between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import tvm
from tvm import relax

from tvm_kp.graph import scan
from tvm_kp.graph.rewrite import (
    bindings,
    field,
    inline,
    name_of,
    shape_of,
    substitute,
    values,
    variables,
    with_body,
)


@tvm.transform.module_pass(opt_level=0, name="FuseScans")
class FuseScans:
    """``scan(@b, scan(@a, x)[0])`` -> ``scan(@a_b, x)``, where only the second reads that output.

    It may be reshaped to another shape and back on the way. Left unchanged: recurrences in
    opposite directions, a second one whose initial states depend on the first.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        while (pair := _find(mod["main"])) is not None:
            mod = _fuse(mod, pair)
        return mod


@dataclass(frozen=True)
class _Pair:
    """``second`` reads output ``index[k]`` of ``first`` as its sequence k, for every k in it."""

    first: relax.Var
    second: relax.Var
    index: Mapping[int, int]


def _find(main: relax.Function) -> _Pair | None:
    bound = values(main)
    calls = {var: call for var, value in bound.items() if (call := scan.match(value)) is not None}
    for second, call in calls.items():
        index: dict[int, int] = {}
        sources = [_output(sequence, bound, calls) for sequence in call.sequences]
        for first in dict.fromkeys(var for var, _ in filter(None, sources)):
            index = {
                k: s[1] for k, s in enumerate(sources) if s is not None and s[0].same_as(first)
            }
            pair = _Pair(first, second, index)
            if _fusable(pair, main, bound, calls):
                return pair
    return None


def _output(
    sequence: relax.Expr,
    bound: Mapping[relax.Var, relax.Expr],
    calls: Mapping[relax.Var, scan.Scan],
) -> tuple[relax.Var, int] | None:
    """The scan and the output of it that ``sequence`` is, through views that end as they began."""
    expr = sequence
    while name_of(bound.get(expr)) == "relax.reshape":
        expr = bound[expr].args[0]
    item = bound.get(expr)
    if not isinstance(item, relax.TupleGetItem) or shape_of(expr) != shape_of(sequence):
        return None
    call = calls.get(item.tuple_value)
    outputs = 0 if call is None else len(item.tuple_value.ty.fields) - len(call.states)
    return (item.tuple_value, item.index) if item.index < outputs else None


def _fusable(
    pair: _Pair,
    main: relax.Function,
    bound: Mapping[relax.Var, relax.Expr],
    calls: Mapping[relax.Var, scan.Scan],
) -> bool:
    first, second = calls[pair.first], calls[pair.second]
    if (first.reverse, first.steps) != (second.reverse, second.steps):
        return False
    others = [s for k, s in enumerate(second.sequences) if k not in pair.index]
    others = [*others, *second.states]
    if pair.first in _needed(others, bound):
        return False
    without = {**bound, pair.second: relax.Tuple(others)}
    needed = _needed([main.body.body], without)
    reads = [bound[var] for var in needed if var in bound and pair.first in variables(without[var])]
    fields = {read.index for read in reads if isinstance(read, relax.TupleGetItem)}
    whole = any(not isinstance(read, relax.TupleGetItem) for read in reads)
    return not whole and fields.isdisjoint(pair.index.values())


def _needed(exprs: list[relax.Expr], bound: Mapping[relax.Var, relax.Expr]) -> set[relax.Var]:
    """Every variable that the expressions depend on."""
    found: set[relax.Var] = set()
    pending = [var for expr in exprs for var in variables(expr)]
    while pending:
        var = pending.pop()
        if var not in found:
            found.add(var)
            pending += variables(bound[var]) if var in bound else []
    return found


def _fuse(mod: tvm.IRModule, pair: _Pair) -> tvm.IRModule:
    main, bound = mod["main"], values(mod["main"])
    first, second = scan.match(bound[pair.first]), scan.match(bound[pair.second])
    assert first is not None and second is not None
    module = relax.BlockBuilder(mod)
    name = f"{first.step.name_hint.removesuffix('_step')}_{second.step.name_hint}"
    step = module.add_func(_step(mod, first, second, pair.index), name)
    kept = [x for k, x in enumerate(second.sequences) if k not in pair.index]
    fused = scan.scan(
        step, [*first.sequences, *kept], [*first.states, *second.states], first.reverse, first.steps
    )

    def body(builder: relax.BlockBuilder, params: dict[relax.Var, relax.Expr]) -> relax.Expr:
        new = _Rewritten(builder, bound, pair, fused, params)
        for binding in bindings(main):
            new[binding.var]
        return substitute(main.body.body, new)

    module.update_func(mod.get_global_var("main"), with_body(main, body))
    return relax.transform.DeadCodeElimination(["main"])(module.get())


class _Rewritten(dict[relax.Var, relax.Expr]):
    """The new expression of every variable of ``main``, emitted when it is first asked for.

    What the second recurrence starts from may be computed after the first one ran.
    """

    def __init__(
        self,
        builder: relax.BlockBuilder,
        bound: Mapping[relax.Var, relax.Expr],
        pair: _Pair,
        fused: relax.Call,
        params: Mapping[relax.Var, relax.Expr],
    ) -> None:
        super().__init__(params)
        self._builder, self._bound, self._pair, self._fused = builder, bound, pair, fused

    def __missing__(self, var: relax.Var) -> relax.Expr:
        if var.same_as(self._pair.first) or var.same_as(self._pair.second):
            self._call()
            return self[var]
        value = substitute(self._bound[var], self)
        known = field(value)
        self[var] = self._builder.emit(value, var.name) if known is None else known
        return self[var]

    def _call(self) -> None:
        """Emit the fused scan, whose results are all outputs and then all states."""
        call = self._builder.emit(substitute(self._fused, self), self._pair.second.name)
        fields = [self._builder.emit(call[k]) for k in range(len(call.ty.fields))]
        outputs, states = [], []
        for var in (self._pair.first, self._pair.second):
            count = len(scan.match(self._bound[var]).states)  # type: ignore[union-attr]
            outputs.append(len(var.ty.fields) - count)
            states.append(count)
        ends = list(accumulate([*outputs, *states]))
        parts = [
            fields[end - size : end] for end, size in zip(ends, [*outputs, *states], strict=True)
        ]
        self[self._pair.first] = relax.Tuple([*parts[0], *parts[2]])
        self[self._pair.second] = relax.Tuple([*parts[1], *parts[3]])


def _step(
    mod: tvm.IRModule, first: scan.Scan, second: scan.Scan, index: Mapping[int, int]
) -> relax.Function:
    """``(x…, states of both) -> (outputs of both, states of both)``, one step after the other."""
    a, b = mod[first.step], mod[second.step]
    xs_a, states_a = _copies(a, len(first.sequences))
    xs_b, states_b = _copies(b, len(second.sequences))
    kept = [x for k, x in enumerate(xs_b) if k not in index]
    builder = relax.BlockBuilder()
    with builder.function("step", [*xs_a, *kept, *states_a, *states_b], private=True):
        with builder.dataflow():
            of_a = inline(a, builder, [*xs_a, *states_a])
            rows = [of_a[index[k]] if k in index else x for k, x in enumerate(xs_b)]
            of_b = inline(b, builder, [*rows, *states_b])
            split_a, split_b = len(of_a) - len(states_a), len(of_b) - len(states_b)
            fields = [*of_a[:split_a], *of_b[:split_b], *of_a[split_a:], *of_b[split_b:]]
            result = builder.emit_output(relax.Tuple(fields))
        builder.emit_func_output(result)
    return builder.get()["step"]


def _copies(step: relax.Function, sequences: int) -> tuple[list[relax.Var], list[relax.Var]]:
    """New parameters for a step: rows and states."""
    params = [relax.Var(param.name, param.ty) for param in step.params]
    return params[:sequences], params[sequences:]
