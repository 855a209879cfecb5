"""Views of memory that is laid out here: rows, parts, and joined tensors without a copy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tvm import relax

from tvm_kp.c.program import Buffer, View

_OURS = ("workspace", "state")  # kinds of memory that is laid out here


def is_free(view: View) -> bool:
    """Whether the buffer is only this tensor's, so that it may be placed elsewhere."""
    return view.buffer.kind in _OURS and view.buffer.parent is None and view.is_whole()


def rows_of(sequence: View, reverse: bool) -> View:
    """The row of each iteration: the first one first, or in ``reverse`` the last."""
    steps, *shape = sequence.shape
    nbytes = math.prod(shape) * np.dtype(sequence.dtype).itemsize
    first, stride = ((steps - 1) * nbytes, -nbytes) if reverse else (0, nbytes)
    return View(sequence.buffer, tuple(shape), sequence.dtype, sequence.offset + first, stride)


def split_view(whole: View, var: relax.Var) -> tuple[View, ...]:
    """The parts of a ``relax.split`` along the outermost axis."""
    parts, offset = [], 0
    for type_ in var.ty.fields:
        parts.append(whole.part(offset, shape_of(type_)))
        offset += parts[-1].nbytes
    return tuple(parts)


def slice_view(whole: View, expr: relax.Call, var: relax.Var) -> View:
    """The rows of a ``relax.strided_slice``."""
    (axis,), (begin,) = ([int(v) for v in arg.fields] for arg in expr.args[1:3])
    row = math.prod(whole.shape[axis + 1 :]) * np.dtype(whole.dtype).itemsize
    begin = begin + whole.shape[axis] if begin < 0 else begin
    return whole.part(begin * row, shape_of(var.ty))


def extend_states(
    parts: tuple[View, ...], shape: tuple[int, ...], unique: Callable[[str], str]
) -> View | None:
    """The joined states of stacked layers: the buffer that ends in the first, made longer.

    A layer joins [x, h], the next one [h, h']: in one buffer x, h, h' each lies where both want
    it, and nothing is copied.
    """
    first, *rest = parts
    root, offset = first.location()
    ends = root.kind in _OURS and offset + first.nbytes == root.nbytes
    states = first.buffer.carried and all(is_free(p) and p.buffer.carried for p in rest)
    if not (ends and states and root is not first.buffer):
        return None
    itemsize = np.dtype(root.dtype).itemsize
    nbytes = root.nbytes + sum(part.nbytes for part in rest)
    name = "_".join([root.name, *(part.buffer.name for part in rest)])
    whole = Buffer(unique(name), (nbytes // itemsize,), root.dtype, root.kind)
    place = 0
    for buffer in (root, *(part.buffer for part in rest)):
        buffer.parent, buffer.offset = whole, place
        place += buffer.nbytes
    return View(whole, shape, first.dtype, offset)


def shape_of(type_: relax.TensorType) -> tuple[int, ...]:
    """The static shape of a type."""
    return tuple(int(size) for size in type_.shape)
