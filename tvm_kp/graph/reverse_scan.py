"""A recurrence over a flipped sequence reads the sequence backwards; the flip is gone."""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_kp.graph import scan
from tvm_kp.graph.rewrite import bindings, name_of, rebuild, shape_of
from tvm_kp.graph.time_axis import operand_axes
from tvm_kp.graph.unrolled import VIEWS

_FLIP = "relax.flip"
_PASSED = (*VIEWS, "relax.permute_dims")


@tvm.transform.module_pass(opt_level=0, name="ReverseScan")
class ReverseScan:
    """``kp.scan(@step, flip(x))`` -> ``flip`` of the outputs of a scan of ``x`` in reverse.

    A flip moves behind views and meets the one that undoes it. Left unchanged: a main in which
    no fewer flips would be left, for they copy.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        result = mod.clone()
        result.update_func(mod.get_global_var("main"), rebuild(mod["main"], _Flips().emit))
        result = relax.transform.DeadCodeElimination(["main"])(result)
        return result if _count(result) < _count(mod) else mod


def _count(mod: tvm.IRModule) -> int:
    return sum(name_of(binding.value) == _FLIP for binding in bindings(mod["main"]))


class _Flips:
    """Emits ``main`` anew and remembers of what, and along which axis, a variable is a flip."""

    def __init__(self) -> None:
        self._flips: dict[relax.Expr, tuple[relax.Expr, int]] = {}

    def emit(self, builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
        call = scan.match(value)
        if call is not None and call.sequences and all(map(self._is_flipped, call.sequences)):
            return self._reversed(builder, var, call)
        if name_of(value) == _FLIP:
            axis = int(value.attrs.axis) % len(shape_of(var))
            return self._flip(builder, value.args[0], axis)
        if name_of(value) in _PASSED and value.args[0] in self._flips:
            source, axis = self._flips[value.args[0]]
            for own in range(len(shape_of(var))):
                if operand_axes(var, value, own) == [(value.args[0], axis)]:
                    moved = builder.emit(_view_of(value, source))
                    return self._flip(builder, moved, own)
        return builder.emit(value, var.name)

    def _is_flipped(self, sequence: relax.Expr) -> bool:
        return sequence in self._flips and self._flips[sequence][1] == 0

    def _flip(self, builder: relax.BlockBuilder, x: relax.Expr, axis: int) -> relax.Expr:
        source, own = self._flips.get(x, (x, -1))
        if own == axis:
            return source
        flipped = builder.emit(relax.op.flip(x, axis))
        self._flips[flipped] = x, axis
        return flipped

    def _reversed(self, builder: relax.BlockBuilder, var: relax.Var, call: scan.Scan) -> relax.Expr:
        sources = [self._flips[sequence][0] for sequence in call.sequences]
        backwards = scan.scan(call.step, sources, call.states, not call.reverse, call.steps)
        result = builder.emit(backwards, var.name)
        fields = [builder.emit(result[k]) for k in range(len(var.ty.fields))]
        outputs = len(fields) - len(call.states)
        flipped = [self._flip(builder, y, 0) for y in fields[:outputs]]
        return relax.Tuple([*flipped, *fields[outputs:]])


def _view_of(view: relax.Call, source: relax.Expr) -> relax.Call:
    """The view of something else."""
    return relax.Call(view.op, [source, *view.args[1:]], view.attrs, view.ty_args)
