"""Sequences that are one row again and again."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.graph.rewrite import name_of, shape_of
from tvm_kp.graph.time_axis import operand_axes
from tvm_kp.graph.unrolled import VIEWS

_REPEATS = ("relax.broadcast_to", "relax.tile")


def repeated_row(
    x: relax.Expr, bound: Mapping[relax.Var, relax.Expr], axis: int = 0
) -> relax.Expr | None:
    """What ``x`` is at every index of ``axis``, to be reshaped to the shape without that axis.

    Found are constants with equal rows, and ``broadcast_to`` and ``tile`` along the axis alone,
    through views and transpositions that leave the other axes in order. None for anything else.
    """
    if isinstance(x, GenericConst):
        array = np.moveaxis(x.value.numpy(), axis, 0)
        return relax.const(array[0].copy()) if (array == array[:1]).all() else None
    value = bound.get(x)
    if not isinstance(value, relax.Call):
        return None
    if name_of(value) in _REPEATS:
        source = value.args[0]
        own = axis - (len(shape_of(x)) - len(shape_of(source)))
        once = own < 0 or shape_of(source)[own] == 1
        alone = math.prod(shape_of(source)) * shape_of(x)[axis] == math.prod(shape_of(x))
        return source if once and alone else None
    if name_of(value) not in (*VIEWS, "relax.permute_dims"):
        return None
    source = value.args[0]
    for _, own in operand_axes(x, value, axis) or []:
        if name_of(value) in VIEWS or _keeps_order(value, axis):
            return repeated_row(source, bound, own)
    return None


def _keeps_order(transposed: relax.Call, axis: int) -> bool:
    """Whether all axes but one stay in order."""
    order = transposed.attrs.axes
    if order is None:
        return len(transposed.args[0].ty.shape) <= 2
    rest = [int(own) for k, own in enumerate(order) if k != axis]
    return rest == sorted(rest)
