"""One row of a recurrence's output: the last in time is its final state, the first is one step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import tvm
from tvm import relax

from tvm_kp.graph import scan
from tvm_kp.graph.rewrite import (
    bindings,
    name_of,
    returned,
    shape_of,
    substitute,
    values,
    variables,
    with_body,
)
from tvm_kp.graph.unrolled import taken_row

New = Mapping[relax.Var, relax.Expr]
Emit = Callable[[relax.BlockBuilder, New], relax.Expr]

_VIEWS = ("relax.permute_dims", "relax.reshape", "relax.concat")


@tvm.transform.module_pass(opt_level=0, name="TakeLastState")
class TakeLastState:
    """``take(y, -1, time axis)`` -> the final state that equals ``y``'s last row.

    ``y`` may have been reshaped, had batch and time swapped, or be the outputs of two directions
    joined. The reverse one has its first step there: that becomes a scan of one step, if nobody
    reads anything else of it. Left unchanged: other indices, other axes, an output that is no
    state of the step.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        main, rows = mod["main"], _Rows(mod)

        def body(builder: relax.BlockBuilder, new: dict[relax.Var, relax.Expr]) -> relax.Expr:
            for binding in bindings(main):
                row = rows.find(binding.value)
                expr = substitute(binding.value, new)
                if row is not None:
                    expr = relax.op.reshape(row(builder, new), binding.var.ty.shape)
                new[binding.var] = builder.emit(expr, binding.var.name)
            return substitute(main.body.body, new)

        result = mod.clone()
        result.update_func(mod.get_global_var("main"), with_body(main, body))
        return result


class _Rows:
    """Rows of the outputs of the scans in ``main``, emitted as something cheaper."""

    def __init__(self, mod: tvm.IRModule) -> None:
        self._mod = mod
        self._bound = values(mod["main"])
        self._readers: dict[relax.Var, list[relax.Var]] = {}
        for var, value in self._bound.items():
            for operand in variables(value):
                self._readers.setdefault(operand, []).append(var)
        self._returned = set(variables(mod["main"].body.body))

    def find(self, value: relax.Expr) -> Emit | None:
        """How to emit the row that ``value`` takes, but for its shape; None if it takes none."""
        taken = taken_row(value)
        return None if taken is None else self._row(*taken)

    def _row(self, source: relax.Expr, axis: int, index: int) -> Emit | None:
        value = self._bound.get(source)
        if value is None:
            return None
        index %= int(source.ty.shape[axis])
        if name_of(value) == "relax.reshape":
            return self._reshaped(source, axis, index)
        if name_of(value) == "relax.permute_dims":
            axes = _order(value)
            others = [k for k in axes if k != axes[axis] and int(value.args[0].ty.shape[k]) != 1]
            kept = others == sorted(others)
            return self._row(value.args[0], axes[axis], index) if kept else None
        if name_of(value) == "relax.concat":
            return self._joined(value, axis, index)
        call = scan.match(self._bound.get(getattr(value, "tuple_value", None)))
        return None if call is None or axis else self._output(call, value, index)

    def _reshaped(self, source: relax.Expr, axis: int, index: int) -> Emit | None:
        """Its rows are those of the axis with as much before it."""
        size, before = int(source.ty.shape[axis]), math.prod(shape_of(source)[:axis])
        source = self._bound[source].args[0]
        shape = shape_of(source)
        for old, found in enumerate(shape):
            if found == size and math.prod(shape[:old]) == before:
                return self._row(source, old, index)
        return None

    def _joined(self, value: relax.Call, axis: int, index: int) -> Emit | None:
        parts = list(value.args[0].fields)
        joined = int(value.attrs.axis) % len(parts[0].ty.shape)
        rows = [self._row(part, axis, index) for part in parts]
        if joined == axis or not any(rows):
            return None

        def emit(builder: relax.BlockBuilder, new: New) -> relax.Expr:
            found = []
            for row, part in zip(rows, parts, strict=True):
                slices = ([axis], [index], [index + 1])
                taken = relax.op.strided_slice(substitute(part, new), *slices)
                expr = builder.emit(taken) if row is None else row(builder, new)
                shape = [n for k, n in enumerate(shape_of(part)) if k != axis]
                found.append(builder.emit(relax.op.reshape(expr, shape)))
            return builder.emit(relax.op.concat(found, axis=joined - (axis < joined)))

        return emit

    def _output(self, call: scan.Scan, item: relax.TupleGetItem, index: int) -> Emit | None:
        """Row ``index`` of output ``item``: the final state, or the output of the first step."""
        results = returned(self._mod[call.step])
        first_state = len(results) - len(call.states)
        if item.index >= first_state:
            return None
        order = list(call.order())
        if index == order[-1]:
            for state in range(first_state, len(results)):
                if results[state].same_as(results[item.index]):
                    return lambda builder, new: builder.emit(new[item.tuple_value][state])
        if index == order[0] and all(
            self._only_row(r, index) for r in self._readers[item.tuple_value]
        ):
            return lambda builder, new: self._first_step(call, item.index, index, builder, new)
        return None

    def _only_row(self, var: relax.Var, index: int) -> bool:
        """Whether row ``index`` is all that anybody reads of ``var``, an output or a view of it."""
        if var in self._returned:
            return False
        for reader in self._readers.get(var, []):
            value = self._bound[reader]
            taken = taken_row(value)
            if taken is not None:
                source, axis, at = taken
                if at % int(source.ty.shape[axis]) != index:
                    return False
            elif name_of(value) not in _VIEWS or not self._only_row(reader, index):
                return False
        return True

    def _first_step(
        self, call: scan.Scan, output: int, index: int, builder: relax.BlockBuilder, new: New
    ) -> relax.Expr:
        rows = [
            builder.emit(relax.op.strided_slice(substitute(x, new), [0], [index], [index + 1]))
            for x in call.sequences
        ]
        states = [substitute(state, new) for state in call.states]
        once = builder.emit(scan.scan(call.step, rows, states, call.reverse, 1))
        return builder.emit(once[output])


def _order(view: relax.Call) -> list[int]:
    axes = view.attrs.axes
    rank = len(view.args[0].ty.shape)
    return list(range(rank))[::-1] if axes is None else [int(k) for k in axes]
