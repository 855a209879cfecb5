"""What a recurrence would compute anew from the same values in every step is computed once."""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_kp.graph import scan
from tvm_kp.graph.repeated_row import repeated_row
from tvm_kp.graph.rewrite import bindings, rebuild, returned, substitute, variables

Values = dict[relax.Var, relax.Expr]


@tvm.transform.module_pass(opt_level=0, name="HoistInvariants")
class HoistInvariants:
    """``kp.scan(@step, (broadcast_to(x),), (h,))`` -> ``kp.scan(@step', (), (h, x·Wᵀ))``.

    A sequence that repeats one row is no sequence any more, and what needs nothing but such rows,
    and states that stay as they are, moves in front of the loop. Runs behind
    ``FactorizeKronecker``: a product with ``[x, h]`` stays one.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        module = relax.BlockBuilder(mod)
        bound: Values = {}  # what the new variables are

        def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
            call = scan.match(value)
            loop = None if call is None else _Loop(mod[call.step], call, bound)
            if loop is not None and loop.invariant:
                return loop.emit(module, builder, var.name)
            new = builder.emit(value, var.name)
            bound[new] = value
            return new

        module.update_func(mod.get_global_var("main"), rebuild(mod["main"], emit))
        return relax.transform.DeadCodeElimination(["main"])(module.get())


class _Loop:
    """A recurrence, what of its step stays the same, and what that is in front of the loop."""

    def __init__(self, step: relax.Function, call: scan.Scan, bound: Values) -> None:
        self._step, self._call = step, call
        count, results = len(call.sequences), returned(step)
        self._outputs = results[: len(results) - len(call.states)]
        self._results = results[len(self._outputs) :]
        self._states = list(step.params[count:])
        self.invariant: Values = {
            state: initial
            for state, final, initial in zip(self._states, self._results, call.states, strict=True)
            if final.same_as(state)
        }
        for param, x in zip(step.params[:count], call.sequences, strict=True):
            row = repeated_row(x, bound) if call.steps > 1 else None
            if row is not None:
                self.invariant[param] = relax.op.reshape(row, param.ty.shape)

    def emit(
        self, module: relax.BlockBuilder, builder: relax.BlockBuilder, name: str
    ) -> relax.Tuple:
        """Emit what stays and the loop without it; the results of the loop as it was."""
        before: Values = {var: builder.emit(value) for var, value in self.invariant.items()}
        rest = []
        for binding in bindings(self._step):
            read = variables(binding.value)
            if read and all(var in before for var in read):
                value = substitute(binding.value, before)
                before[binding.var] = builder.emit(value, binding.var.name)
            else:
                rest.append(binding)
        finals = dict(zip(self._states, self._results, strict=True))
        carried = {state: final for state, final in finals.items() if state not in before}
        results = [*self._outputs, *carried.values()]
        read = [var for expr in (*(b.value for b in rest), *results) for var in variables(expr)]
        kept = list(dict.fromkeys(var for var in read if var in before))
        varying = [
            (param, x)
            for param, x in zip(self._step.params, self._call.sequences, strict=False)
            if param not in before
        ]
        params = [*(param for param, _ in varying), *carried, *kept]
        step = _step(params, rest, [*results, *kept])
        initial = dict(zip(self._states, self._call.states, strict=True))
        states = [*(initial[state] for state in carried), *(before[var] for var in kept)]
        call = scan.scan(
            module.add_func(step, self._call.step.name_hint),
            [x for _, x in varying],
            states,
            self._call.reverse,
            self._call.steps,
        )
        fields = builder.emit(call, name)
        after = {
            state: builder.emit(fields[k]) for k, state in enumerate(carried, len(self._outputs))
        }
        outputs = [builder.emit(fields[k]) for k in range(len(self._outputs))]
        return relax.Tuple([*outputs, *(after.get(state, before.get(state)) for state in finals)])


def _step(
    params: list[relax.Var], rest: list[relax.VarBinding], results: list[relax.Expr]
) -> relax.Function:
    """``step(params) -> results`` with the bindings that need the ``params``."""
    builder = relax.BlockBuilder()
    new: Values = {param: relax.Var(param.name, param.ty) for param in params}
    with builder.function("step", list(new.values()), private=True):
        with builder.dataflow():
            for binding in rest:
                value = substitute(binding.value, new)
                new[binding.var] = builder.emit(value, binding.var.name)
            fields = [substitute(expr, new) for expr in results]
            result = builder.emit_output(relax.Tuple(fields))
        builder.emit_func_output(result)
    return builder.get()["step"]
