"""Which operators treat every time step alike, and where their operands have the time axis."""

from __future__ import annotations

import math

from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.graph.rewrite import name_of, shape_of
from tvm_kp.graph.unrolled import VIEWS

_UNARY = {
    *("abs", "astype", "clip", "cos", "erf", "exp", "floor", "log", "negative", "rsqrt", "sigmoid"),
    *("sin", "sqrt", "square", "tanh", "nn.gelu", "nn.leakyrelu", "nn.relu", "nn.silu"),
    *("kp.quantize", "kp.interpolate"),
}
_BINARY = {
    *("add", "subtract", "multiply", "divide", "maximum", "minimum", "power"),
    *("right_shift", "kp.requantize"),
}
_ALONG_AXES = {"nn.softmax": "axis", "nn.log_softmax": "axis", "nn.layer_norm": "axes"}

Operands = list[tuple[relax.Expr, int]]


def operand_axes(var: relax.Var, value: relax.Expr, axis: int) -> Operands | None:
    """The operands that have the time axis of ``var = value``, which is ``axis``, and where.

    None if the operator mixes time steps, or if that axis is none that an operand can have.
    """
    name = name_of(value).removeprefix("relax.")
    if isinstance(value, relax.Var):
        return [(value, axis)]
    if isinstance(value, relax.TupleGetItem):
        return [(value.tuple_value, axis)]
    if name in _UNARY:
        return [(value.args[0], axis)]
    if name in _BINARY:
        return _broadcast(var, value, axis)
    if name_of(value) in VIEWS:
        return _reshaped(var, value.args[0], axis)
    if name == "take" and int(value.attrs.axis) == 0 and isinstance(value.args[0], GenericConst):
        indices = value.args[1]  # of rows of a table, as an embedding takes them
        return [(indices, axis)] if axis < len(indices.ty.shape) else None
    if name == "permute_dims":
        order = value.attrs.axes
        rank = len(value.args[0].ty.shape)
        return [(value.args[0], int(order[axis]) if order is not None else rank - 1 - axis)]
    if name in ("matmul", "kp.integer_matmul"):
        by_constant = isinstance(value.args[1], GenericConst) and len(value.args[1].ty.shape) == 2
        return [(value.args[0], axis)] if by_constant and axis < _rank(value) - 1 else None
    if name in ("concat", "split"):
        parts = value.args[0].fields if name == "concat" else [value.args[0]]
        along = int(value.attrs.axis) % len(parts[0].ty.shape)
        return None if along == axis else [(part, axis) for part in parts]
    if name in _ALONG_AXES:
        along = getattr(value.attrs, _ALONG_AXES[name])
        axes = {int(k) % _rank(value) for k in (along if name.endswith("norm") else [along])}
        return None if axis in axes else [(value.args[0], axis)]
    return None


def _rank(value: relax.Call) -> int:
    return len(value.args[0].ty.shape)


def _broadcast(var: relax.Var, value: relax.Call, axis: int) -> Operands | None:
    steps, rank = shape_of(var)[axis], len(shape_of(var))
    found: Operands = []
    for operand in value.args:
        own = axis - (rank - len(operand.ty.shape))
        if own >= 0 and shape_of(operand)[own] == steps:
            if isinstance(operand, GenericConst) and steps > 1:
                return None  # every step has a value of its own
            found.append((operand, own))
    return found


def _reshaped(var: relax.Var, source: relax.Expr, axis: int) -> Operands | None:
    """The axis of as many steps with as much before it."""
    steps, before = shape_of(var)[axis], math.prod(shape_of(var)[:axis])
    shape = shape_of(source)
    for own, size in enumerate(shape):
        if size == steps and math.prod(shape[:own]) == before:
            return [(source, own)]
    return None
