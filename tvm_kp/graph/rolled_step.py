"""The step function of a repeated step, and the call that runs it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, MutableMapping

from tvm import relax

from tvm_kp.graph import scan
from tvm_kp.graph.repeated_step import Carried, Local, RepeatedStep, Role, Same, Slice
from tvm_kp.graph.rewrite import shape_of, substitute
from tvm_kp.graph.unrolled import Base, Unrolled, leaves, replace_leaves

New = MutableMapping[relax.Var, relax.Expr]


class RolledStep:
    """``step(row…, carried…, invariant…) -> (output…, carried…, invariant…)``.

    ``read`` are the results of the repetition that are read after it.
    """

    def __init__(self, unrolled: Unrolled, found: RepeatedStep, read: Iterable[relax.Var]) -> None:
        self.found = found
        self._unrolled = unrolled
        self._first = self._bindings(0)
        self._carried = list(found.initial)
        self._slices = list(dict.fromkeys(r for r in found.roles if isinstance(r, Slice)))
        self._invariant = {
            role.base: leaf
            for role, leaf in zip(found.roles, self._leaves(0), strict=True)
            if isinstance(role, Same)
            and isinstance(leaf, relax.Var)
            and not self._is_constant(leaf)
        }
        places = [self.place(var) for var in read]
        self._outputs = sorted({j for t, j in places if not self._is_final(t, j)})
        self.reverse = bool(self._slices) and all(s.stride < 0 for s in self._slices)

    def place(self, var: relax.Var) -> tuple[int, int]:
        """(step, index in the step) of a result of the repetition."""
        position = self._unrolled.position[var] - self.found.start
        return position // self.found.period, position % self.found.period

    def row(self, t: int) -> int:
        """Where step ``t`` of the repetition is in an output sequence."""
        return self.found.steps - 1 - t if self.reverse else t

    def call(
        self, builder: relax.BlockBuilder, step: relax.GlobalVar, new: New, name: str
    ) -> tuple[dict[int, relax.Expr], dict[int, relax.Expr]]:
        """Emit the scan; its output sequences and its final states by index in the step."""
        sequences = [self._sequence(builder, one, new) for one in self._slices]
        states = [
            builder.emit(
                relax.op.reshape(_new(self.found.initial[j], new), self._first[j].var.ty.shape)
            )
            for j in self._carried
        ]
        states += [_new(leaf, new) for leaf in self._invariant.values()]
        call = scan.scan(step, sequences, states, self.reverse, self.found.steps)
        result = builder.emit(call, name)
        fields = [builder.emit(result[k]) for k in range(len(self._outputs) + len(self._carried))]
        outputs = dict(zip(self._outputs, fields, strict=False))
        return outputs, dict(zip(self._carried, fields[len(outputs) :], strict=True))

    def function(self) -> relax.Function:
        """The step as a private function."""
        params: dict[Role | Base, relax.Var] = {}
        for one in self._slices:
            shape = [n for axis, n in enumerate(shape_of(one.source)) if axis != one.axis]
            params[one] = relax.Var("x", relax.TensorType(shape, one.source.ty.dtype.dtype))
        for j in self._carried:
            params[Carried(j)] = relax.Var("h", self._first[j].var.ty)
        for base, leaf in self._invariant.items():
            params[base] = relax.Var("kept", leaf.ty)
        builder = relax.BlockBuilder()
        with builder.function("step", list(params.values()), private=True):
            with builder.dataflow():
                results = self._body(builder, params)
                fields = [results[j] for j in (*self._outputs, *self._carried)]
                fields += [params[base] for base in self._invariant]
                returned = builder.emit_output(relax.Tuple(fields))
            builder.emit_func_output(returned)
        return builder.get()["step"]

    def _body(
        self, builder: relax.BlockBuilder, params: dict[Role | Base, relax.Var]
    ) -> list[relax.Expr]:
        results: list[relax.Expr] = []
        constants = _Constants(builder, self._unrolled)
        roles = iter(self.found.roles)

        def operand(leaf: relax.Expr) -> relax.Expr:
            role = next(roles)
            if isinstance(role, Local):
                value = results[role.index]
            elif isinstance(role, Same):
                kept = params.get(role.base)
                value = _new(leaf, constants) if kept is None else kept
            else:
                value = params[role]
            # What the leaf stands for may have been reshaped on the way to it.
            same = not isinstance(leaf.ty, relax.TensorType) or shape_of(value) == shape_of(leaf)
            return value if same else builder.emit(relax.op.reshape(value, leaf.ty.shape))

        # Operands of the second step: one that is carried starts as anything in the first.
        for first, second in zip(self._first, self._bindings(1), strict=True):
            new = [operand(leaf) for leaf in leaves(second.value)]
            results.append(builder.emit(replace_leaves(second.value, iter(new)), first.var.name))
        return results

    def _sequence(self, builder: relax.BlockBuilder, one: Slice, new: New) -> relax.Expr:
        """The rows that ``one`` reads along a new leading axis, in the order of the scan."""
        source, steps = _new(one.source, new), self.found.steps
        last = one.first + (steps - 1) * one.stride
        low, high = min(one.first, last), max(one.first, last) + 1
        shape = shape_of(source)
        if (low, high, abs(one.stride)) != (0, shape[one.axis], 1):
            slices = ([one.axis], [low], [high], [abs(one.stride)])
            source = builder.emit(relax.op.strided_slice(source, *slices))
        rest = [n for axis, n in enumerate(shape) if axis != one.axis]
        if math.prod(shape[: one.axis]) != 1:
            axes = [one.axis, *(k for k in range(len(shape)) if k != one.axis)]
            source = builder.emit(relax.op.permute_dims(source, axes))
        source = builder.emit(relax.op.reshape(source, (steps, *rest)))
        backwards = self.reverse != (one.stride < 0)
        return builder.emit(relax.op.flip(source, 0)) if backwards else source

    def _is_final(self, t: int, j: int) -> bool:
        return t == self.found.steps - 1 and j in self.found.initial

    def _is_constant(self, leaf: relax.Var) -> bool:
        return leaf in self._unrolled.constant

    def _bindings(self, t: int) -> list[relax.VarBinding]:
        first = self.found.start + t * self.found.period
        return self._unrolled.operators[first : first + self.found.period]

    def _leaves(self, t: int) -> Iterator[relax.Expr]:
        return (leaf for binding in self._bindings(t) for leaf in leaves(binding.value))


class _Constants(dict[relax.Var, relax.Expr]):
    """What is computed from constants, computed anew inside the step."""

    def __init__(self, builder: relax.BlockBuilder, unrolled: Unrolled) -> None:
        super().__init__()
        self._builder, self._unrolled = builder, unrolled

    def __missing__(self, var: relax.Var) -> relax.Expr:
        value = substitute(self._unrolled.values[var], self)
        self[var] = self._builder.emit(value, var.name)
        return self[var]


def _new(expr: relax.Expr, new: New) -> relax.Expr:
    return new[expr] if isinstance(expr, relax.Var) else expr
