"""The last output of a recurrence is its final state: read that, not the sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping

import tvm
from tvm import relax

from tvm_kp.graph import scan
from tvm_kp.graph.rewrite import name_of, rebuild, shape_of, values
from tvm_kp.graph.unrolled import taken_row

_VIEWS = ("relax.permute_dims", "relax.reshape")


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
            last = _last_state(value, bound, mod)
            if last is not None:
                value = relax.op.reshape(builder.emit(last), var.ty.shape)
            new = builder.emit(value, var.name)
            bound[new] = value
            return new

        result = mod.clone()
        result.update_func(mod.get_global_var("main"), rebuild(mod["main"], emit))
        return result


def _last_state(
    value: relax.Expr, bound: Mapping[relax.Var, relax.Expr], mod: tvm.IRModule
) -> relax.TupleGetItem | None:
    taken = taken_row(value)
    if taken is None:
        return None
    source, axis, index = taken
    output, time_axis = _scan_output(source, bound)
    if output is None or axis != time_axis:
        return None
    call = scan.match(bound[output.tuple_value])
    assert call is not None
    if index % call.steps != (0 if call.reverse else call.steps - 1):
        return None
    results = _results(mod[call.step])
    for state in range(len(results) - len(call.states), len(results)):
        if results[state].same_as(results[output.index]):
            return relax.TupleGetItem(output.tuple_value, state)
    return None


def _scan_output(
    source: relax.Expr, bound: Mapping[relax.Var, relax.Expr]
) -> tuple[relax.TupleGetItem | None, int]:
    """The scan output that ``source`` is a view of, and the axis its time went to, or -1."""
    value = bound.get(source)
    if name_of(value) in _VIEWS:
        assert value is not None
        output, axis = _scan_output(value.args[0], bound)
        return output, _moved(axis, value, shape_of(source))
    if not isinstance(value, relax.TupleGetItem):
        return None, -1
    call = scan.match(bound.get(value.tuple_value))
    if call is None or value.index >= len(value.tuple_value.ty.fields) - len(call.states):
        return None, -1
    return value, 0


def _moved(axis: int, view: relax.Call, shape: list[int]) -> int:
    """Where a view of this ``shape`` has the time that was at ``axis``, or -1 if nowhere.

    Nor anywhere if the other axes come in another order: a row would not be the state reshaped.
    """
    if axis < 0:
        return -1
    old = shape_of(view.args[0])
    if view.op.name == "relax.permute_dims":
        order = view.attrs.axes
        axes = [int(k) for k in order] if order is not None else list(range(len(old)))[::-1]
        others = [k for k in axes if k != axis and old[k] != 1]
        return axes.index(axis) if others == sorted(others) else -1
    before = math.prod(old[:axis])
    for new, size in enumerate(shape):
        if size == old[axis] and math.prod(shape[:new]) == before:
            return new
    return -1


def _results(step: relax.Function) -> list[relax.Expr]:
    bound, result = values(step), step.body.body
    while isinstance(result, relax.Var):
        result = bound[result]
    return list(result.fields)
