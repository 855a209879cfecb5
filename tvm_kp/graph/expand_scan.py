"""Lower ``kp.scan`` for TVM's own virtual machine: one call of the step per time step."""

from __future__ import annotations

from typing import Any, ClassVar

import tvm
from tvm import relax

from tvm_kp.graph import scan
from tvm_kp.graph.rewrite import rebuild, update

_STACK_WIDTH = 16  # tensors joined at once: wide concatenations compile slowly


@tvm.transform.module_pass(opt_level=0, name="ExpandScan")
class ExpandScan:
    """``kp.scan(@step, …)`` -> T calls of ``@step``; the step itself stays one function."""

    __call__: ClassVar[Any]  # from module_pass

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        def emit(builder: relax.BlockBuilder, _var: relax.Var, value: relax.Expr) -> relax.Expr:
            call = scan.match(value)
            return builder.emit(value if call is None else _expand(call, builder))

        return update(mod, lambda function: rebuild(function, emit))


def _expand(call: scan.Scan, builder: relax.BlockBuilder) -> relax.Tuple:
    states, outputs = list(call.states), []
    for t in call.order():
        inputs = [builder.emit(_row(x, t)) for x in call.sequences]
        result = builder.emit(relax.Call(call.step, [*inputs, *states]))
        fields = [builder.emit(result[k]) for k in range(len(result.ty.fields))]
        first_state = len(fields) - len(states)
        states = fields[first_state:]
        outputs.append(fields[:first_state])
    outputs = outputs[::-1] if call.reverse else outputs
    stacked = [_stack(list(column), builder) for column in zip(*outputs, strict=True)]
    return relax.Tuple([*stacked, *states])


def _row(x: relax.Expr, t: int) -> relax.Expr:
    sliced = relax.op.strided_slice(x, axes=[0], begin=[t], end=[t + 1])
    return relax.op.squeeze(sliced, axis=[0])


def _stack(rows: list[relax.Expr], builder: relax.BlockBuilder) -> relax.Expr:
    parts = [builder.emit(relax.op.expand_dims(row, 0)) for row in rows]
    while len(parts) > 1:
        groups = [parts[k : k + _STACK_WIDTH] for k in range(0, len(parts), _STACK_WIDTH)]
        parts = [builder.emit(relax.op.concat(group, axis=0)) for group in groups]
    return parts[0]
