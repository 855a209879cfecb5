"""A loop over time that PyTorch unrolled becomes one ``kp.scan`` again."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import tvm
from tvm import relax

from tvm_kp.artifacts import Recurrence
from tvm_kp.graph.repeated_step import RepeatedStep, find
from tvm_kp.graph.rewrite import bindings, name_of, shape_of, substitute, variables, with_body
from tvm_kp.graph.rolled_step import RolledStep
from tvm_kp.graph.unrolled import Unrolled

ATTRIBUTE = "kp.recurrences"


@tvm.transform.module_pass(opt_level=0, name="RerollRecurrence")
class RerollRecurrence:
    """A step that ``main`` repeats -> ``kp.scan`` over it, as often as there are such steps.

    Each repetition must be the same operators on the same constants, on results of its own, on
    those of the repetition before, and on the next row of the same tensor. Left unchanged: what
    repeats less than three times or cannot be proved the same. Both are recorded in the module's
    attribute ``kp.recurrences``.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        records = []
        while True:
            unrolled = Unrolled(mod["main"])
            found, refused = find(unrolled)
            if found is None:
                break
            name = _name(unrolled, found)
            records.append(Recurrence(name, found.steps, found.period))
            mod = _reroll(mod, unrolled, found, name)
        records += [Recurrence("main", one.steps, one.period, one.reason) for one in refused]
        if not records:
            return mod
        return mod.with_attr(ATTRIBUTE, json.dumps([asdict(record) for record in records]))


def recurrences(mod: tvm.IRModule) -> tuple[Recurrence, ...]:
    """What ``RerollRecurrence`` recorded."""
    recorded = json.loads((mod.attrs or {}).get(ATTRIBUTE, "[]"))
    return tuple(Recurrence(**entry) for entry in recorded)


def _name(unrolled: Unrolled, found: RepeatedStep) -> str:
    step = unrolled.operators[found.start : found.start + found.period]
    return next(b.var.name for b in step if name_of(b.value) == "relax.matmul")


def _reroll(mod: tvm.IRModule, unrolled: Unrolled, found: RepeatedStep, name: str) -> tvm.IRModule:
    main = mod["main"]
    repeated = {binding.var for binding in unrolled.operators[found.start : found.end]}
    live = _live(main, unrolled, repeated)
    rolled = RolledStep(unrolled, found, live & repeated)
    module = relax.BlockBuilder(mod)
    step = module.add_func(rolled.function(), f"{name}_step")

    def body(builder: relax.BlockBuilder, params: dict[relax.Var, relax.Expr]) -> relax.Expr:
        new = _Rewritten(builder, unrolled, rolled, params)
        for binding in bindings(main):
            if binding.var.same_as(unrolled.operators[found.start].var):
                new.call(step, name)
            elif binding.var in live and binding.var not in repeated:
                new[binding.var]
        return substitute(main.body.body, new)

    module.update_func(mod.get_global_var("main"), with_body(main, body))
    return relax.transform.DeadCodeElimination(["main"])(module.get())


def _live(main: relax.Function, unrolled: Unrolled, repeated: set[relax.Var]) -> set[relax.Var]:
    """What the result of ``main`` needs, without what only the repetition needs."""
    found: set[relax.Var] = set()
    pending = variables(main.body.body)
    while pending:
        var = pending.pop()
        if var not in found:
            found.add(var)
            if var not in repeated and var in unrolled.values:
                pending += variables(unrolled.values[var])
    return found


class _Rewritten(dict[relax.Var, relax.Expr]):
    """The new expression of every variable of ``main``, emitted when it is first asked for."""

    def __init__(
        self,
        builder: relax.BlockBuilder,
        unrolled: Unrolled,
        rolled: RolledStep,
        params: dict[relax.Var, relax.Expr],
    ) -> None:
        super().__init__(params)
        self._builder, self._unrolled, self._rolled = builder, unrolled, rolled
        self._outputs: dict[int, relax.Expr] = {}
        self._final: dict[int, relax.Expr] = {}

    def call(self, step: tvm.ir.GlobalVar, name: str) -> None:
        """Emit the scan."""
        self._outputs, self._final = self._rolled.call(self._builder, step, self, name)

    def __missing__(self, var: relax.Var) -> relax.Expr:
        place = self._place(var)
        if place is None:
            value = self._unrolled.values[var]
            stacked = self._stacked(value)
            expr = substitute(value, self) if stacked is None else stacked
            self[var] = self._builder.emit(expr, var.name)
        else:
            self[var] = self._result(*place, var)
        return self[var]

    def _place(self, var: relax.Var) -> tuple[int, int] | None:
        found, position = self._rolled.found, self._unrolled.position.get(var, -1)
        return self._rolled.place(var) if found.start <= position < found.end else None

    def _result(self, t: int, j: int, var: relax.Var) -> relax.Expr:
        """Result ``j`` of step ``t`` of the repetition."""
        if j not in self._outputs:
            return self._final[j]
        row = self._rolled.row(t)
        taken = relax.op.strided_slice(self._outputs[j], [0], [row], [row + 1])
        return self._builder.emit(relax.op.reshape(self._builder.emit(taken), var.ty.shape))

    def _stacked(self, value: relax.Expr) -> relax.Expr | None:
        """A ``concat`` of one result of all steps: the output sequence with its axis moved."""
        if name_of(value) != "relax.concat" or not isinstance(value.args[0], relax.Tuple):
            return None
        parts = list(value.args[0].fields)
        bases = [self._unrolled.base(part) for part in parts]
        places = [self._place(base) for base in bases if isinstance(base, relax.Var)]
        steps = self._rolled.found.steps
        if len(parts) != steps or len(places) != steps or None in places:
            return None
        rows = [self._rolled.row(t) for t, _ in places]  # type: ignore[misc]
        (j, *others) = {j for _, j in places}  # type: ignore[misc]
        if others or rows not in (list(range(steps)), list(range(steps))[::-1]):
            return None
        if len({tuple(shape_of(part)) for part in parts}) != 1:
            return None
        return self._joined(j, shape_of(parts[0]), int(value.attrs.axis), rows[0] > 0)

    def _joined(self, j: int, part: list[int], axis: int, backwards: bool) -> relax.Expr:
        """Parts of this shape, which are the rows of an output, joined along ``axis``."""
        emit, steps = self._builder.emit, self._rolled.found.steps
        sequence = self._outputs[j]
        if backwards:
            sequence = emit(relax.op.flip(sequence, 0))
        axis %= len(part)
        if math.prod(part[:axis]) != 1:
            sequence = emit(relax.op.reshape(sequence, (steps, *part)))
            axes = [*range(1, axis + 1), 0, *range(axis + 1, len(part) + 1)]
            sequence = emit(relax.op.permute_dims(sequence, axes))
        whole = (*part[:axis], steps * part[axis], *part[axis + 1 :])
        return relax.op.reshape(sequence, whole)
