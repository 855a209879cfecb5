"""Output sequences that nobody reads are not computed into memory."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.utils import copy_with_new_vars

from tvm_kp.graph import scan
from tvm_kp.graph.rewrite import bindings, rebuild, variables


@tvm.transform.module_pass(opt_level=0, name="PruneScan")
class PruneScan:
    """``kp.scan(@step)`` with unread outputs -> ``kp.scan(@step')`` that does not return them.

    Left unchanged: a scan whose outputs are all read, or whose tuple is used as a whole.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        read = _fields_read(mod["main"])
        module = relax.BlockBuilder(mod)

        def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
            call = scan.match(value)
            if call is None or len(read[var]) == len(var.ty.fields):
                return builder.emit(value, var.name)
            first_state = len(var.ty.fields) - len(call.states)
            wanted = [k for k in range(first_state) if k in read[var]]
            wanted += range(first_state, len(var.ty.fields))
            step = module.add_func(_keep_results(mod[call.step], wanted), call.step.name_hint)
            new = builder.emit(call.rebuild(step), var.name)
            fields = {old: builder.emit(new[index]) for index, old in enumerate(wanted)}
            # Nobody reads what stands for the fields left out.
            return relax.Tuple(
                [fields.get(k, fields[first_state]) for k in range(len(var.ty.fields))]
            )

        module.update_func(mod.get_global_var("main"), rebuild(mod["main"], emit))
        return relax.transform.DeadCodeElimination(["main"])(module.get())


def _fields_read(function: relax.Function) -> dict[relax.Var, set[int]]:
    """Which fields of each tuple are read; a use as a whole reads all of them."""
    read: dict[relax.Var, set[int]] = {binding.var: set() for binding in bindings(function)}
    whole = [function.body.body]
    for binding in bindings(function):
        if isinstance(binding.value, relax.TupleGetItem):
            read.setdefault(binding.value.tuple_value, set()).add(binding.value.index)
        else:
            whole.append(binding.value)
    for var in (var for expr in whole for var in variables(expr)):
        if isinstance(var.ty, relax.TupleType) and var in read:
            read[var].update(range(len(var.ty.fields)))
    return read


def _keep_results(step: relax.Function, kept: list[int]) -> relax.Function:
    step = copy_with_new_vars(step)
    result = step.body.body
    fields = [
        relax.VarBinding(
            relax.Var(f"result{k}", result.ty.fields[k]), relax.TupleGetItem(result, k)
        )
        for k in kept
    ]
    builder = relax.BlockBuilder()
    returned = builder.normalize(relax.Tuple([field.var for field in fields]))
    last = relax.Var("results", returned.ty)
    block = relax.BindingBlock([*fields, relax.VarBinding(last, returned)])
    body = builder.normalize(relax.SeqExpr([*step.body.blocks, block], last))
    return relax.Function(step.params, body, last.ty, is_pure=True)
