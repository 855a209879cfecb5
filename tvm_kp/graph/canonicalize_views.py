"""Reshapes, joins and slices become either views of contiguous memory or real copies."""

from __future__ import annotations

import math

import numpy as np
import tvm
from tvm import relax

from tvm_kp.graph.rewrite import name_of, rebuild, shape_of, update
from tvm_kp.graph.unrolled import taken_row

VIEWS = ("relax.reshape", "relax.concat", "relax.split", "relax.strided_slice")


@tvm.transform.module_pass(opt_level=0, name="CanonicalizeViews")
class CanonicalizeViews:
    """After this every operator in ``VIEWS`` is an offset into contiguous memory.

    - ``expand_dims``, ``squeeze``, ``flatten``, and a ``permute_dims`` that only moves axes of
      size one -> ``reshape``
    - ``concat``, ``split`` along an axis that is not outermost -> ``permute_dims`` around one
      along the outermost
    - ``strided_slice`` of anything but rows -> ``take`` along each axis
    - ``take`` of one row at a constant index -> ``strided_slice`` and ``reshape``
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        return update(mod, lambda function: rebuild(function, _emit))


def _emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
    name = name_of(value)
    if name in ("relax.expand_dims", "relax.squeeze", "relax.flatten"):
        return builder.emit(relax.op.reshape(value.args[0], var.ty.shape))
    if name == "relax.permute_dims" and _moves_nothing(value):
        return builder.emit(relax.op.reshape(value.args[0], var.ty.shape))
    if name == "relax.concat":
        parts = _fields(builder, value.args[0])
        if not _outermost(parts[0], axis := int(value.attrs.axis)):
            moved = [builder.emit(_to_front(part, axis)) for part in parts]
            joined = builder.emit(relax.op.concat(moved, axis=0))
            return builder.emit(_from_front(joined, axis))
    if name == "relax.split" and not _outermost(value.args[0], axis := int(value.attrs.axis)):
        moved = builder.emit(_to_front(value.args[0], axis))
        sizes = [int(part.shape[axis]) for part in var.ty.fields]
        ends = [sum(sizes[: k + 1]) for k in range(len(sizes) - 1)]
        parts = builder.emit(relax.op.split(moved, ends, axis=0))
        count = len(parts.ty.fields)
        fields = [builder.emit(_from_front(builder.emit(parts[k]), axis)) for k in range(count)]
        return builder.emit(relax.Tuple(fields))
    if name == "relax.strided_slice":
        return _slice(builder, value)
    if name == "relax.take" and (row := _row(value)) is not None:
        return builder.emit(relax.op.reshape(builder.emit(row), var.ty.shape))
    return builder.emit(value)


def _fields(builder: relax.BlockBuilder, parts: relax.Expr) -> list[relax.Expr]:
    """The tensors of a tuple, which may be bound to a variable."""
    if isinstance(parts, relax.Tuple):
        return list(parts.fields)
    return [builder.emit(parts[k]) for k in range(len(parts.ty.fields))]


def _slice(builder: relax.BlockBuilder, value: relax.Call) -> relax.Expr:
    source = value.args[0]
    axes, begins, ends, *strides = ([int(v) for v in arg.fields] for arg in value.args[1:])
    steps = strides[0] if strides else [1] * len(axes)
    shape = shape_of(source)
    if len(axes) == 1 and steps == [1] and _outermost(source, axes[0]):
        return builder.emit(value)
    for axis, begin, end, step in zip(axes, begins, ends, steps, strict=True):
        chosen = np.arange(shape[axis], dtype="int64")[begin:end:step]
        if len(chosen) != shape[axis] or step != 1:
            source = builder.emit(relax.op.take(source, relax.const(chosen), axis=axis))
    return source


def _row(value: relax.Call) -> relax.Expr | None:
    """The slice of what ``value`` takes, if that lies in one piece; None for other indices."""
    taken = taken_row(value)
    if taken is None:
        return None
    source, axis, index = taken
    # What an index outside of the axis reads is up to the mode of ``take``.
    if not _outermost(source, axis) or not 0 <= index < shape_of(source)[axis]:
        return None
    return relax.op.strided_slice(source, [axis], [index], [index + 1])


def _moves_nothing(value: relax.Call) -> bool:
    shape = shape_of(value.args[0])
    axes = value.attrs.axes
    order = list(range(len(shape)))[::-1] if axes is None else [int(axis) for axis in axes]
    moved = [axis for axis in order if shape[axis] != 1]
    return moved == sorted(moved)


def _outermost(expr: relax.Expr, axis: int) -> bool:
    """Whether parts along ``axis`` lie one after the other in memory."""
    shape = shape_of(expr)
    return math.prod(shape[: axis % len(shape)]) == 1


def _to_front(expr: relax.Expr, axis: int) -> relax.Expr:
    rank = len(shape_of(expr))
    axis %= rank
    return relax.op.permute_dims(expr, [axis, *(k for k in range(rank) if k != axis)])


def _from_front(expr: relax.Expr, axis: int) -> relax.Expr:
    rank = len(shape_of(expr))
    axis %= rank
    return relax.op.permute_dims(expr, [*range(1, axis + 1), 0, *range(axis + 1, rank)])
