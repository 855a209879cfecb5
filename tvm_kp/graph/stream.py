"""The network as one time step with its state outside: rows in, rows or results out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.errors import ModelError
from tvm_kp.graph import scan
from tvm_kp.graph.rewrite import (
    bindings,
    name_of,
    shape_of,
    substitute,
    values,
    variables,
    with_body,
)
from tvm_kp.graph.time_axis import operand_axes
from tvm_kp.graph.unrolled import VIEWS, taken_row


class Stream(NamedTuple):
    """``main(row…, state…) -> (output…, new state…)`` and what each state starts as.

    Without ``initial`` there is no state: ``main`` is a whole sequence.
    """

    mod: tvm.IRModule
    initial: tuple[np.ndarray, ...] = ()


def stream(mod: tvm.IRModule) -> Stream:
    """One time step of a normalized module.

    An input keeps its shape but for the time axis, which becomes 1, and so does an output that
    has one; any other output is what it would be if the sequence ended here. Raises
    ``ModelError`` for a network that needs more of its sequence than what came so far, or whose
    recurrences start from something else than constants.
    """
    return _Streaming(mod).result()


class _Streaming:
    """Follows the time axis from the inputs to the outputs."""

    def __init__(self, mod: tvm.IRModule) -> None:
        self._mod, self._main = mod, mod["main"]
        self._bound = values(self._main)
        self._scans = {v: c for v, e in self._bound.items() if (c := scan.match(e)) is not None}
        self._axis: dict[relax.Var, int] = {}  # of time, for what has one
        self._final: dict[relax.Var, list[relax.Expr]] = {}

    def result(self) -> Stream:
        calls = self._checked()
        initial = [state for call in calls for state in call.states]
        for var, call in self._scans.items():
            for sequence in call.sequences:
                self._trace(sequence, 0, var)
        names = [p.name for c in calls for p in self._mod[c.step].params[len(c.sequences) :]]
        states = [relax.Var(name, s.ty) for name, s in zip(names, initial, strict=True)]
        params = [relax.Var(param.name, self._type(param)) for param in self._main.params]
        shell = relax.Function([*params, *states], self._main.body, self._main.ret_ty, is_pure=True)
        result = self._mod.clone()
        result.update_func(
            self._mod.get_global_var("main"),
            with_body(
                shell.with_attr("global_symbol", "main"),
                lambda builder, new: self._body(builder, list(new.values())),
            ),
        )
        return Stream(result, tuple(state.value.numpy() for state in initial))

    def _checked(self) -> list[scan.Scan]:
        """The recurrences, in order."""
        if not self._scans:
            raise ModelError("the model has no recurrence, so there is nothing to stream")
        for var, call in self._scans.items():
            if call.reverse:
                raise ModelError(
                    f"{var.name} runs from the end of its sequence, which a stream does not have; "
                    "stream a network of one direction, or compile it without --stream"
                )
            if not all(isinstance(state, GenericConst) for state in call.states):
                raise ModelError(
                    f"{var.name} starts from a state that the model computes or takes as an input; "
                    "a stream keeps its state and starts from constants: leave the state out"
                )
        return list(self._scans.values())

    def _trace(self, expr: relax.Expr, axis: int, reader: relax.Var) -> None:
        """Note where ``expr``, whose rows ``reader`` takes, and what it is made of have time."""
        if not isinstance(expr, relax.Var) or self._axis.get(expr) == axis:
            return
        if expr in self._axis:
            raise ModelError(f"{reader.name} and others take {expr.name} apart in different ways")
        self._axis[expr] = axis
        value = self._bound.get(expr)
        source = getattr(value, "tuple_value", None)
        if value is None or source in self._scans:
            return
        operands = operand_axes(expr, value, axis)
        if operands is None:
            raise _mixing(expr, value)
        for operand, own in operands:
            self._trace(operand, own, reader)

    def _type(self, param: relax.Var) -> relax.TensorType:
        return relax.TensorType(self._shape(param), param.ty.dtype.dtype)

    def _shape(self, var: relax.Var) -> list[int]:
        """The shape of ``var`` with one time step."""
        shape = shape_of(var)
        if var in self._axis:
            shape[self._axis[var]] = 1
        return shape

    def _body(self, builder: relax.BlockBuilder, params: list[relax.Expr]) -> relax.Expr:
        inputs, states = params[: len(self._main.params)], params[len(self._main.params) :]
        new = dict(zip(self._main.params, inputs, strict=True))
        for binding in bindings(self._main):
            new[binding.var] = self._emit(builder, binding.var, binding.value, new, states)
        result = substitute(self._main.body.body, new)
        outputs = list(result.fields) if isinstance(result, relax.Tuple) else [result]
        if isinstance(result.ty, relax.TupleType) and not isinstance(result, relax.Tuple):
            outputs = [builder.emit(result[k]) for k in range(len(result.ty.fields))]
        final = [builder.emit(state) for call in self._scans for state in self._final[call]]
        return relax.Tuple([*outputs, *final])

    def _emit(
        self,
        builder: relax.BlockBuilder,
        var: relax.Var,
        value: relax.Expr,
        new: dict[relax.Var, relax.Expr],
        states: list[relax.Expr],
    ) -> relax.Expr:
        if var in self._scans:
            return self._step(builder, var, new, states)
        taken = taken_row(value)
        if taken is not None and taken[1] == self._axis.get(taken[0]):
            source, axis, index = taken
            if index % shape_of(source)[axis] != shape_of(source)[axis] - 1:
                raise ModelError(
                    f"{var.name} is row {index} of a sequence; a stream knows the last one only"
                )
            return builder.emit(relax.op.reshape(new[source], var.ty.shape), var.name)
        if isinstance(value, relax.Tuple):
            return substitute(value, new)
        self._follow(var, value)
        if var in self._axis and name_of(value) in VIEWS:
            return builder.emit(relax.op.reshape(new[value.args[0]], self._shape(var)), var.name)
        return builder.emit(substitute(value, new), var.name)

    def _follow(self, var: relax.Var, value: relax.Expr) -> None:
        """Note where ``var`` has the time axis of its operands."""
        sources = [operand for operand in variables(value) if operand in self._axis]
        if isinstance(value, relax.TupleGetItem) and value.tuple_value in self._scans:
            outputs = len(value.tuple_value.ty.fields) - len(self._scans[value.tuple_value].states)
            if value.index < outputs:
                self._axis[var] = 0
            return
        if not sources or var in self._axis:
            return
        type_ = var.ty.fields[0] if isinstance(var.ty, relax.TupleType) else var.ty
        for axis in range(len(type_.shape)):
            operands = operand_axes(var, value, axis)
            if operands and dict(operands) == {o: self._axis[o] for o in sources}:
                self._axis[var] = axis
                return
        raise _mixing(var, value)

    def _step(
        self,
        builder: relax.BlockBuilder,
        var: relax.Var,
        new: dict[relax.Var, relax.Expr],
        states: list[relax.Expr],
    ) -> relax.Expr:
        """The recurrence for one row, from the states that are its own."""
        call = self._scans[var]
        before = sum(len(one.states) for one in list(self._scans.values())[: len(self._final)])
        own = states[before : before + len(call.states)]
        rows = [substitute(sequence, new) for sequence in call.sequences]
        result = builder.emit(scan.scan(call.step, rows, own, steps=1), var.name)
        first = len(var.ty.fields) - len(own)
        self._final[var] = [relax.TupleGetItem(result, first + k) for k in range(len(own))]
        return result


def _mixing(var: relax.Var, value: relax.Expr) -> ModelError:
    name = name_of(value).removeprefix("relax.") or "a field"
    return ModelError(
        f"{name} ({var.name}) needs the whole sequence; a stream has one time step at a time: "
        "take the last output, or compile without --stream"
    )
