"""Gates that nobody reads are not computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.graph.fuse_pointwise import is_pointwise
from tvm_kp.graph.rewrite import bindings, name_of, rebuild, shape_of, update, variables

Bound = Mapping[relax.Expr, relax.Expr]


@tvm.transform.module_pass(opt_level=0, name="PruneGates")
class PruneGates:
    """``split(x·Wᵀ + b)`` with unread parts -> the same without their rows of W and b.

    Left unchanged: a sum that anything else reads, a split that is used as a whole or along
    another axis than the last, and one of what is neither point-wise nor a product with a constant.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        return relax.transform.DeadCodeElimination(["main"])(update(mod, _prune))


def _prune(function: relax.Function) -> relax.Function:
    exprs = [*(binding.value for binding in bindings(function)), function.body.body]
    reads = Counter(var for expr in exprs for var in variables(expr))
    items: dict[relax.Expr, list[int]] = {}
    for expr in exprs:
        if isinstance(expr, relax.TupleGetItem):
            items.setdefault(expr.tuple_value, []).append(int(expr.index))
    bound: dict[relax.Expr, relax.Expr] = {}  # what only one expression reads

    def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
        read = items.get(var, [])
        if name_of(value) == "relax.split" and read and len(read) == reads[var]:
            parts = _pruned(builder, var, value, sorted(set(read)), bound)
            if parts is not None:
                return parts
        new = builder.emit(value, var.name)
        if reads[var] == 1:
            bound[new] = value
        return new

    return rebuild(function, emit)


def _pruned(
    builder: relax.BlockBuilder, var: relax.Var, split: relax.Call, read: list[int], bound: Bound
) -> relax.Tuple | None:
    """The parts of ``split`` that are ``read``; what stands for the others is one of them."""
    whole, sizes = split.args[0], [int(part.shape[-1]) for part in var.ty.fields]
    last = int(split.attrs.axis) % len(shape_of(whole)) == len(shape_of(whole)) - 1
    if not last or len(read) == len(sizes) or not _is_prunable(whole, bound):
        return None
    starts = np.cumsum([0, *sizes])
    columns = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in read])
    rest = _columns(builder, whole, columns, bound)
    ends = [int(end) for end in np.cumsum([sizes[k] for k in read])[:-1]]
    parts = builder.emit(relax.op.split(rest, ends, -1)) if ends else relax.Tuple([rest])
    kept = {k: builder.emit(parts[place]) if ends else rest for place, k in enumerate(read)}
    return relax.Tuple([kept.get(k, kept[read[0]]) for k in range(len(sizes))])


def _is_prunable(expr: relax.Expr, bound: Bound) -> bool:
    """Whether ``_columns`` can take columns of ``expr``."""
    value = bound.get(expr)
    if value is None:
        return False
    if name_of(value) == "relax.matmul":
        return isinstance(value.args[1], GenericConst) and len(value.args[1].ty.shape) == 2
    operands = value.args if is_pointwise(value, ()) else []
    own = [arg for arg in operands if not isinstance(arg, GenericConst)]
    same = all(shape_of(arg) == shape_of(expr) for arg in own)
    return bool(own) and same and all(_is_prunable(arg, bound) for arg in own)


def _columns(
    builder: relax.BlockBuilder, expr: relax.Expr, columns: np.ndarray, bound: Bound
) -> relax.Expr:
    if isinstance(expr, GenericConst):
        array = expr.value.numpy()
        one = array.ndim == 0 or array.shape[-1] == 1  # broadcast
        return expr if one else relax.const(np.ascontiguousarray(array[..., columns]))
    value = bound[expr]
    args = list(value.args)
    if name_of(value) == "relax.matmul":
        args[1] = _columns(builder, args[1], columns, bound)
    else:
        args = [_columns(builder, arg, columns, bound) for arg in args]
    return builder.emit(relax.Call(value.op, args, value.attrs, value.ty_args), expr.name)
