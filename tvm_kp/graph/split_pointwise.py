"""Split what a point-wise operator reads instead of its result, so that it joins the cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.graph.fuse_pointwise import is_pointwise, steps
from tvm_kp.graph.rewrite import bindings, name_of, rebuild, shape_of, variables


@tvm.transform.module_pass(opt_level=0, name="SplitPointwise")
class SplitPointwise:
    """``split(f(a, b)) -> f(split(a), split(b))`` for a point-wise ``f`` in a step.

    Gates that are a sum of two products are then added in the loop of the cell, with no buffer
    between. What has size one along the axis stays whole. Left unchanged: an ``f`` that anything
    else reads, a bias that belongs to a matmul, parts that nothing point-wise reads.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        result = mod.clone()
        for gv in steps(mod):
            result.update_func(gv, _split(mod[gv]))
        return result


def _split(step: relax.Function) -> relax.Function:
    exprs = [*(binding.value for binding in bindings(step)), step.body.body]
    reads = Counter(var for expr in exprs for var in variables(expr))
    splits = _read_by_pointwise(step)
    products: set[relax.Var] = set()
    bound: dict[relax.Expr, relax.Call] = {}  # what only one expression reads

    def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
        if var in splits and value.args[0] in bound:
            rank = len(var.ty.fields[0].shape)
            axis = int(value.attrs.axis) % rank - rank
            sizes = [int(part.shape[axis]) for part in var.ty.fields]
            return builder.emit(relax.Tuple(_parts(builder, value.args[0], axis, sizes, bound)))
        new = builder.emit(value)
        if name_of(value) == "relax.matmul":
            products.add(new)
        if is_pointwise(value, products) and reads[var] == 1:
            bound[new] = value
        return new

    return rebuild(step, emit)


def _read_by_pointwise(step: relax.Function) -> set[relax.Var]:
    """The splits of which a point-wise operator reads a part."""
    found: set[relax.Expr] = set()
    source: dict[relax.Var, relax.Expr] = {}
    for binding in bindings(step):
        value = binding.value
        if isinstance(value, relax.TupleGetItem):
            source[binding.var] = value.tuple_value
        elif is_pointwise(value, set()):
            found.update(source[var] for var in variables(value) if var in source)
    return {b.var for b in bindings(step) if b.var in found and name_of(b.value) == "relax.split"}


def _parts(
    builder: relax.BlockBuilder,
    expr: relax.Expr,
    axis: int,
    sizes: list[int],
    bound: Mapping[relax.Expr, relax.Call],
) -> list[relax.Expr]:
    """``expr`` in parts of ``sizes`` along ``axis``, -1 being the last; ``bound`` by operands."""
    if not _has_axis(expr, axis):
        return [expr] * len(sizes)
    ends = [int(end) for end in np.cumsum(sizes)[:-1]]
    if isinstance(expr, GenericConst):
        arrays = np.split(expr.value.numpy(), ends, axis)
        return [relax.const(np.ascontiguousarray(array)) for array in arrays]
    if expr in bound:
        call = bound[expr]
        operands = [_parts(builder, arg, axis, sizes, bound) for arg in call.args]
        calls = (relax.Call(call.op, args, call.attrs) for args in zip(*operands, strict=True))
        return [builder.emit(part) for part in calls]
    parts = builder.emit(relax.op.split(expr, ends, axis))
    return [builder.emit(parts[k]) for k in range(len(sizes))]


def _has_axis(expr: relax.Expr, axis: int) -> bool:
    """Whether ``expr`` is not broadcast along ``axis``, -1 being the last one."""
    if not isinstance(expr.ty, relax.TensorType):
        return False  # the bounds of a clip
    shape = shape_of(expr)
    return len(shape) >= -axis and shape[axis] != 1
