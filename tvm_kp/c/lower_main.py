"""Relax main -> ``Program``: views become offsets, recurrences loops, states stay in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.ir import GenericConst

from tvm_kp.c.in_place import VIEWS, may_overwrite, successors
from tvm_kp.c.names import c_name
from tvm_kp.c.packing import packed_operands
from tvm_kp.c.program import Buffer, Call, Copy, Loop, Program, View, Zero
from tvm_kp.c.views import extend_states, is_free, rows_of, shape_of, slice_view, split_view
from tvm_kp.errors import ModelError

# What a Relax variable stands for: a View, or for a tuple a tuple of them, as its type says.
Value = Any


def lower_main(
    mod: tvm.IRModule, kernels: Mapping[str, tirx.PrimFunc], initial: Sequence[np.ndarray] = ()
) -> Program:
    """The program of ``main``, whose operators are calls of PrimFuncs, views and ``kp.scan``.

    ``kernels`` are the lowered PrimFuncs: they tell what may be computed in place, and their
    last parameters which temporary memory a call needs. The last parameters and results of
    ``main`` are the states of a stream that start as ``initial``. Raises ``ModelError`` for an
    operator that is none of these.
    """
    return _Lowering(mod, kernels).program(initial)


class _Lowering:
    def __init__(self, mod: tvm.IRModule, kernels: Mapping[str, tirx.PrimFunc]) -> None:
        self._mod = mod
        self._kernels = kernels
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Buffer] = {}
        self._body: list[Any] = []  # Call, Copy, Zero, and Loop outside of loops
        self._names: dict[str, int] = {}
        # The states that results of calls become, by call and index of the result.
        self._successors: dict[tuple[relax.Var, int], View] = {}

    def program(self, initial: Sequence[np.ndarray]) -> Program:
        main = self._mod["main"]
        params = main.params[: len(main.params) - len(initial)]
        inputs = tuple(
            Buffer(self._unique(c_name(p.name)), shape_of(p.ty), p.ty.dtype.dtype, "input")
            for p in params
        )
        states = [self._state(param) for param in main.params[len(params) :]]
        env: dict[relax.Var, Value] = {
            param: View(buffer, buffer.shape, buffer.dtype)
            for param, buffer in zip(params, inputs, strict=True)
        }
        env.update(zip(main.params[len(params) :], states, strict=True))
        everything = self._function(main, env)
        count = len(everything) - len(states)
        results, final = everything[:count], everything[count:]
        names = [f"output{k}" for k in range(len(results))] if len(results) > 1 else ["output"]
        outputs = [
            self._output(name, view, inputs) for name, view in zip(names, results, strict=True)
        ]
        self._update_states(states, final)
        _check_names([*inputs, *outputs], ("workspace", "state") if initial else ("workspace",))
        reset = tuple(
            _start(state, self._constant(relax.const(value), f"{state.buffer.name}_initial"))
            for state, value in zip(states, initial, strict=True)
        )
        return Program(inputs, tuple(outputs), tuple(self._body), reset)

    def _state(self, param: relax.Var) -> View:
        view = self._new(param.name, param.ty)
        view.buffer.kind, view.buffer.carried = "state", True
        return view

    def _output(self, name: str, view: View, inputs: Sequence[Buffer]) -> Buffer:
        name = name + "_" if name in {buffer.name for buffer in inputs} else name
        output = Buffer(name, view.shape, view.dtype, "output")
        if is_free(view) and view.buffer.kind == "workspace":
            view.buffer.parent = output
        else:
            self._body.append(Copy(view, View(output, view.shape, view.dtype)))
        return output

    def _function(self, function: relax.Function, env: dict[relax.Var, Value]) -> list[View]:
        """Lower the bindings of ``function``; the fields of the tuple it returns."""
        for block in function.body.blocks:
            for binding in block.bindings:
                env[binding.var] = self._value(binding.value, binding.var, env)
        result = self._operand(function.body.body, env)
        return list(result) if isinstance(result, tuple) else [result]

    def _operand(
        self, expr: relax.Expr, env: Mapping[relax.Var, Value], name: str = "constant"
    ) -> Value:
        """What ``expr`` stands for; a constant that is new is called ``name``."""
        if isinstance(expr, relax.Var):
            return env[expr]
        if isinstance(expr, relax.Tuple):
            return tuple(self._operand(item, env, name) for item in expr.fields)
        assert isinstance(expr, GenericConst), f"operand {expr} was not lowered"
        return self._constant(expr, name)

    def _value(self, expr: relax.Expr, var: relax.Var, env: Mapping[relax.Var, Value]) -> Value:
        if isinstance(expr, relax.TupleGetItem):
            return self._operand(expr.tuple_value, env)[expr.index]
        if not isinstance(expr, relax.Call):
            return self._operand(expr, env)
        name = expr.op.name
        if name == "relax.call_tir":
            return self._call(expr, var, env)
        if name == "kp.scan":
            return self._scan(expr, env)
        if name not in VIEWS:
            raise ModelError(
                f"the operator {name} has no form in C here (TVM calls a library for it); "
                "replace it in the model, or leave it to the code around"
            )
        operand = self._operand(expr.args[0], env)
        if name == "relax.reshape":
            return operand.part(0, shape_of(var.ty))
        if name == "relax.concat":
            return self._concat(operand, var)
        if name == "relax.split":
            return split_view(operand, var)
        return slice_view(operand, expr, var)

    def _call(self, expr: relax.Call, var: relax.Var, env: Mapping[relax.Var, Value]) -> Value:
        function = expr.args[0].name_hint
        args = packed_operands(self._kernels[function], expr.args[1].fields)
        inputs = tuple(self._operand(arg, env, f"{function}_weights") for arg in args)
        types = var.ty.fields if isinstance(var.ty, relax.TupleType) else [var.ty]
        outputs = tuple(
            self._replaced((var, index), type_, function, inputs)
            or self._new(f"{function}_out", type_)
            for index, type_ in enumerate(types)
        )
        temporaries = self._kernels[function].params[len(inputs) + len(outputs) :]
        scratch = tuple(
            self._new("scratch", relax.TensorType([int(n) for n in t.shape], str(t.dtype)))
            for t in temporaries
        )
        self._body.append(Call(function, inputs, outputs, scratch))
        return outputs if isinstance(var.ty, relax.TupleType) else outputs[0]

    def _replaced(
        self,
        result: tuple[relax.Var, int],
        type_: relax.TensorType,
        function: str,
        inputs: Sequence[View],
    ) -> View | None:
        """The state that this result is the new value of, if it may be written over the old."""
        state = self._successors.get(result)
        if state is None:
            return None
        target = len(inputs) + result[1]
        in_place = all(
            read.location() == state.location()
            and may_overwrite(self._kernels[function], index, target)
            for index, read in enumerate(inputs)
            if read.overlaps(state)
        )
        return state.part(0, shape_of(type_)) if in_place else None

    def _concat(self, parts: tuple[View, ...], var: relax.Var) -> View:
        """A part that has its buffer to itself is computed in place; the others are copied."""
        extended = extend_states(parts, shape_of(var.ty), self._unique)
        if extended is not None:
            return extended
        whole = self._new("_".join(part.buffer.name for part in parts), var.ty)
        offset = 0
        for part in parts:
            if is_free(part):
                part.buffer.parent, part.buffer.offset = whole.buffer, offset
                if part.buffer.kind == "state":
                    whole.buffer.kind = "state"
            else:
                self._body.append(Copy(part, whole.part(offset, part.shape)))
            offset += part.nbytes
        return whole

    def _scan(self, expr: relax.Call, env: Mapping[relax.Var, Value]) -> Value:
        step = self._mod[expr.args[0]]
        reverse, steps = bool(expr.attrs["reverse"]), int(expr.attrs["steps"])
        sequences, initial = (self._operand(arg, env) for arg in expr.args[1:3])
        params = step.params[len(sequences) :]
        states = [self._carried(*one, steps) for one in zip(params, initial, strict=True)]
        inputs = [rows_of(x, reverse) for x in sequences]
        new = successors(step, step.params[len(sequences) :])
        self._successors = {result: states[index] for result, index in new.items()}
        outer: list[Any] = self._body
        if steps > 1:
            self._body = []
        results = self._function(step, dict(zip(step.params, [*inputs, *states], strict=True)))
        first_state = len(results) - len(states)
        rows, new_states = results[:first_state], results[first_state:]
        outputs = [self._collect(row, steps, reverse) for row in rows]
        self._update_states(states, new_states)
        if steps > 1:
            self._body, body = outer, tuple(self._body)
            self._body.append(Loop(steps, body))
        return (*outputs, *states)

    def _carried(self, param: relax.Var, initial: View, steps: int) -> View:
        """The memory of a state in its loop; that of a stream is outside and stays there."""
        if steps == 1 and initial.buffer.kind == "state":
            return initial
        state = self._new(param.name, param.ty)
        state.buffer.carried = True
        self._body.append(_start(state, initial))
        return state

    def _collect(self, row: View, steps: int, reverse: bool) -> View:
        """The output sequence, whose rows are copied from the step's results."""
        buffer = Buffer(self._unique("sequence"), (steps, *row.shape), row.dtype)
        sequence = View(buffer, buffer.shape, row.dtype)
        self._body.append(Copy(row, rows_of(sequence, reverse)))
        return sequence

    def _update_states(self, states: Sequence[View], new: Sequence[View]) -> None:
        """Copy the new values that were not computed in their states' place."""
        changed = [
            (state, value)
            for state, value in zip(states, new, strict=True)
            if value.location() != state.location()
        ]
        # A value may lie in a state that is overwritten before, or while, it is copied: such
        # values are set aside.
        for index, (state, value) in enumerate(changed):
            if any(value.overlaps(other) for other in states):
                buffer = Buffer(self._unique("aside"), value.shape, value.dtype)
                aside = View(buffer, value.shape, value.dtype)
                self._body.append(Copy(value, aside))
                changed[index] = (state, aside)
        self._body += [Copy(value, state) for state, value in changed]

    def _new(self, name: str, type_: relax.TensorType) -> View:
        shape, dtype = shape_of(type_), type_.dtype.dtype
        return View(Buffer(self._unique(name), shape, dtype), shape, dtype)

    def _constant(self, expr: GenericConst, name: str) -> View:
        array = expr.value.numpy()
        shape, dtype = array.shape, str(array.dtype)
        equal = dtype, shape, array.tobytes()  # equal constants are stored once
        if equal not in self._constants:
            name = self._unique(name)
            self._constants[equal] = Buffer(name, shape, dtype, "constant", value=array)
        buffer = self._constants[equal]
        return View(buffer, buffer.shape, buffer.dtype)

    def _unique(self, name: str) -> str:
        unique = name
        while unique in self._names:
            self._names[name] += 1
            unique = f"{name}_{self._names[name]}"
        self._names[unique] = 0
        return unique


def _check_names(tensors: Sequence[Buffer], taken: Sequence[str]) -> None:
    """Refuse inputs and outputs that the header's macros could not tell apart, from one another
    or from what else has a size there."""
    macros: dict[str, str] = {}
    for tensor in tensors:
        if tensor.name.lower() in taken:
            raise ModelError(
                f"a tensor is called {tensor.name}, and the header has a macro for the size of the "
                f"model's {tensor.name.lower()}; rename the tensor"
            )
        other = macros.setdefault(tensor.name.upper(), tensor.name)
        if other != tensor.name:
            raise ModelError(
                f"the tensors {other} and {tensor.name} would have one macro for their sizes in "
                "the header; rename one of them"
            )


def _start(state: View, start: View) -> Copy | Zero:
    value = start.buffer.value
    if value is not None and not np.any(value):
        return Zero(state)
    return Copy(start, state)
