"""The last output of a recurrence is its final state: read that, not the sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping

import tvm
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.graph import scan
from tvm_kp.graph.rewrite import name_of, rebuild, shape_of, values


@tvm.transform.module_pass(opt_level=0, name="TakeLastState")
class TakeLastState:
    """``take(y, -1, time axis)`` -> the final state that equals ``y``'s last row.

    ``y`` may have been reshaped or had batch and time swapped. Left unchanged: other indices,
    other axes, an output that is no state of the step.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        bound: dict[relax.Var, relax.Expr] = {}

        def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
            last = _last_state(var, value, bound, mod)
            if last is not None:
                value = relax.op.reshape(builder.emit(last), var.ty.shape)
            new = builder.emit(value)
            bound[new] = value
            return new

        mod.update_func(mod.get_global_var("main"), rebuild(mod["main"], emit))
        return mod


def _last_state(
    var: relax.Var, value: relax.Expr, bound: Mapping[relax.Var, relax.Expr], mod: tvm.IRModule
) -> relax.TupleGetItem | None:
    taken = _taken(var, value)
    if taken is None:
        return None
    source, axis, index = taken
    output, time_axis = _scan_output(source, bound)
    if output is None or axis != time_axis or index not in (-1, int(source.ty.shape[axis]) - 1):
        return None
    call = scan.match(bound[output.tuple_value])
    results = _results(mod[call.step])
    for state in range(len(results) - len(call.states), len(results)):
        if results[state].same_as(results[output.index]):
            return relax.TupleGetItem(output.tuple_value, state)
    return None


def _taken(var: relax.Var, value: relax.Expr) -> tuple[relax.Expr, int, int] | None:
    """(source, axis, index) of a ``take`` or ``strided_slice`` of one index along one axis."""
    name = name_of(value)
    if name == "relax.take" and isinstance(value.args[1], GenericConst):
        index = value.args[1].value.numpy()
        if index.size == 1 and value.attrs.axis is not None:
            return value.args[0], int(value.attrs.axis), int(index.reshape(()))
    if name == "relax.strided_slice":
        axes, begins = ([int(v) for v in arg.fields] for arg in value.args[1:3])
        if len(axes) == 1 and int(var.ty.shape[axes[0]]) == 1:
            return value.args[0], axes[0], begins[0]
    return None


def _scan_output(
    source: relax.Expr, bound: Mapping[relax.Var, relax.Expr]
) -> tuple[relax.TupleGetItem | None, int]:
    """The scan output that ``source`` is a view of, and the axis its time went to."""
    swapped, value = False, bound.get(source)
    while (name := name_of(value)).startswith("relax."):
        if name == "relax.permute_dims" and not swapped:
            swapped = [int(axis) for axis in value.attrs.axes] == [1, 0, 2]
        elif name != "relax.reshape":
            return None, -1
        value = bound.get(value.args[0])
    if not isinstance(value, relax.TupleGetItem):
        return None, -1
    call = scan.match(bound.get(value.tuple_value))
    if call is None or value.index >= len(value.tuple_value.ty.fields) - len(call.states):
        return None, -1
    return value, 1 if swapped else _leading_axis(source, call.steps)


def _leading_axis(view: relax.Expr, steps: int) -> int:
    """The axis of a reshaped sequence that runs over its ``steps`` leading rows, or -1."""
    shape = shape_of(view)
    for axis, size in enumerate(shape):
        if size == steps and math.prod(shape[:axis]) == 1:
            return axis
    return -1


def _results(step: relax.Function) -> list[relax.Expr]:
    bound, result = values(step), step.body.body
    while isinstance(result, relax.Var):
        result = bound[result]
    return list(result.fields)
