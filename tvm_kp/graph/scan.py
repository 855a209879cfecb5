"""``kp.scan``: a recurrence as one operator with a step function.

``kp.scan(@step, (x…), (state…))`` runs ``step(x_t…, state…) -> (y_t…, new_state…)`` once per
index ``t`` of the leading axis of its sequences and returns ``(y…, final_state…)``, every ``y``
stacked along a new leading axis, ``y_t`` at ``t``. With ``reverse`` the last ``t`` comes first. The
step is a private Relax function, so that passes,
legalization and fusion treat it like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tvm
from tvm import relax

from tvm_kp.graph.register import register

OP_NAME = "kp.scan"


def _infer_type(call: relax.Call, _builder: relax.BlockBuilder) -> relax.TupleType:
    step, sequences, states = call.args
    steps = {int(call.attrs["steps"]), *(int(x.ty.shape[0]) for x in sequences.fields)}
    if len(steps) != 1:
        raise ValueError(f"{OP_NAME} needs sequences of one length, found {sorted(steps)}")
    results = step.ty.ret.fields
    outputs = results[: len(results) - len(states.fields)]
    stacked = [relax.TensorType([*steps, *y.shape], y.dtype) for y in outputs]
    return relax.TupleType([*stacked, *results[len(outputs) :]])


register(OP_NAME, "A recurrence over a step function.", _infer_type)


def scan(
    step: tvm.ir.GlobalVar,
    sequences: Sequence[relax.Expr],
    states: Sequence[relax.Expr],
    reverse: bool = False,
    steps: int | None = None,
) -> relax.Call:
    """Build a call: ``sequences`` are (T, …) tensors, ``states`` the initial states.

    ``steps`` is T, needed only where there is no sequence.
    """
    op = tvm.ir.Op.get(OP_NAME)
    steps = int(sequences[0].ty.shape[0]) if steps is None else steps
    attrs = tvm.ir.make_node("ir.DictAttrs", reverse=reverse, steps=steps)
    return relax.Call(op, [step, relax.Tuple(list(sequences)), relax.Tuple(list(states))], attrs)


@dataclass(frozen=True)
class Scan:
    """A ``kp.scan`` call taken apart."""

    step: tvm.ir.GlobalVar
    sequences: tuple[relax.Expr, ...]
    states: tuple[relax.Expr, ...]
    reverse: bool
    steps: int

    def order(self) -> Iterator[int]:
        """The indices of the time axis, first to last in time."""
        indices = range(self.steps)
        return reversed(indices) if self.reverse else iter(indices)

    def rebuild(self, step: tvm.ir.GlobalVar) -> relax.Call:
        """The same call over another step function."""
        return scan(step, self.sequences, self.states, self.reverse, self.steps)


def match(expr: relax.Expr) -> Scan | None:
    """``expr`` as a ``Scan``, or None when it is anything else."""
    if not isinstance(expr, relax.Call) or not isinstance(expr.op, tvm.ir.Op):
        return None
    if expr.op.name != OP_NAME:
        return None
    step, sequences, states = expr.args
    reverse, steps = bool(expr.attrs["reverse"]), int(expr.attrs["steps"])
    return Scan(step, tuple(sequences.fields), tuple(states.fields), reverse, steps)
