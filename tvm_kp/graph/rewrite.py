"""Walk and rebuild Relax functions in A-normal form: a flat list of bindings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tvm
from tvm import relax
from tvm.ir import GenericConst

Emit = Callable[[relax.BlockBuilder, relax.Var, relax.Expr], relax.Expr]


def functions(mod: tvm.IRModule) -> list[tuple[tvm.ir.GlobalVar, relax.Function]]:
    """The Relax functions that are a flat list of pure bindings: what ``rebuild`` can take.

    Left out are functions with branches, nested functions, casts of shapes, or side effects.
    """
    return [
        (gv, function)
        for gv, function in mod.functions_items()
        if isinstance(function, relax.Function) and function.is_pure and _is_flat(function)
    ]


def _is_flat(function: relax.Function) -> bool:
    return isinstance(function.body, relax.SeqExpr) and all(
        isinstance(binding, relax.VarBinding)
        and not isinstance(binding.value, relax.If | relax.Function)
        for binding in bindings(function)
    )


def bindings(function: relax.Function) -> list[relax.VarBinding]:
    """The bindings of all blocks, in order."""
    return [binding for block in function.body.blocks for binding in block.bindings]


def values(function: relax.Function) -> dict[relax.Var, relax.Expr]:
    """What every variable is bound to."""
    return {binding.var: binding.value for binding in bindings(function)}


def name_of(expr: relax.Expr | None) -> str:
    """The operator that ``expr`` calls, ``relax.matmul`` say; empty for anything else."""
    return getattr(getattr(expr, "op", None), "name", "")


def shape_of(expr: relax.Expr) -> list[int]:
    """The static shape of a tensor."""
    return [int(size) for size in expr.ty.shape]


def variables(expr: relax.Expr) -> list[relax.Var]:
    """The variables that ``expr`` reads, in order, with repetitions."""
    if isinstance(expr, relax.Var):
        return [expr]
    return [var for operand in operands(expr) for var in variables(operand)]


def operands(expr: relax.Expr) -> list[relax.Expr]:
    """What ``expr`` is directly made of."""
    if isinstance(expr, relax.Call):
        return list(expr.args)
    if isinstance(expr, relax.Tuple):
        return list(expr.fields)
    return [expr.tuple_value] if isinstance(expr, relax.TupleGetItem) else []


def field(value: relax.Expr) -> relax.Expr | None:
    """The field that ``value`` takes of a tuple that is written out; None for anything else."""
    if isinstance(value, relax.TupleGetItem) and isinstance(value.tuple_value, relax.Tuple):
        return value.tuple_value.fields[value.index]
    return None


def returned(function: relax.Function) -> list[relax.Expr]:
    """The fields of the tuple that a function returns."""
    bound, result = values(function), function.body.body
    while isinstance(result, relax.Var):
        result = bound[result]
    return list(result.fields)


def substitute(expr: relax.Expr, new: Mapping[relax.Expr, relax.Expr]) -> relax.Expr:
    """``expr`` with every variable replaced, and the constants that ``new`` names."""
    if isinstance(expr, relax.Var):
        return new[expr]
    if isinstance(expr, GenericConst):
        return new.get(expr, expr)
    if isinstance(expr, relax.Call):
        args = [substitute(arg, new) for arg in expr.args]
        return relax.Call(expr.op, args, expr.attrs, expr.ty_args)
    if isinstance(expr, relax.Tuple):
        return relax.Tuple([substitute(item, new) for item in expr.fields])
    if isinstance(expr, relax.TupleGetItem):
        return relax.TupleGetItem(substitute(expr.tuple_value, new), expr.index)
    return expr


def rebuild(function: relax.Function, emit: Emit) -> relax.Function:
    """The function with each binding emitted anew.

    ``emit(builder, var, value)`` is given the old variable and its value over new variables,
    and returns what stands for the variable from there on. If that is a tuple, reading a field
    of it needs no binding.
    """

    def body(builder: relax.BlockBuilder, new: dict[relax.Var, relax.Expr]) -> relax.Expr:
        for binding in bindings(function):
            value = substitute(binding.value, new)
            known = field(value)
            new[binding.var] = emit(builder, binding.var, value) if known is None else known
        return substitute(function.body.body, new)

    return with_body(function, body)


def with_body(
    function: relax.Function,
    body: Callable[[relax.BlockBuilder, dict[relax.Var, relax.Expr]], relax.Expr],
) -> relax.Function:
    """The function with another body.

    ``body(builder, new)`` emits it and returns the result; ``new`` maps the old parameters to
    new ones.
    """
    new: dict[relax.Var, relax.Expr] = {
        param: relax.Var(param.name, param.ty) for param in function.params
    }
    builder = relax.BlockBuilder()
    with builder.function("function", list(new.values()), attrs=dict(function.attrs or {})):
        with builder.dataflow():
            result = builder.emit_output(body(builder, new))
        builder.emit_func_output(result)
    return _with_symbol_of(function, builder.get()["function"])


def inline(
    function: relax.Function, builder: relax.BlockBuilder, args: Sequence[relax.Expr]
) -> list[relax.Expr]:
    """Emit the body of a function that returns a tuple; the fields of that tuple."""
    new = dict(zip(function.params, args, strict=True))
    for binding in bindings(function):
        if not isinstance(binding.value, relax.Tuple):
            new[binding.var] = builder.emit(substitute(binding.value, new), binding.var.name)
        else:
            new[binding.var] = substitute(binding.value, new)
    return [substitute(result, new) for result in returned(function)]


def _with_symbol_of(old: relax.Function, new: relax.Function) -> relax.Function:
    symbol = (old.attrs or {}).get("global_symbol")
    if symbol is None:
        return new.without_attr("global_symbol")
    return new.with_attr("global_symbol", symbol)


def update(mod: tvm.IRModule, change: Callable[[relax.Function], relax.Function]) -> tvm.IRModule:
    """A new module in which every flat Relax function is replaced by ``change`` of it."""
    result = mod.clone()
    for gv, function in functions(mod):
        result.update_func(gv, change(function))
    return result
