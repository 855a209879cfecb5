"""Let a bias meet its product before the product is reshaped."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.graph.rewrite import name_of, rebuild, shape_of, update


@tvm.transform.module_pass(opt_level=0, name="SinkReshape")
class SinkReshape:
    """``reshape(matmul) + bias -> reshape(matmul + bias')``, so that the two become one kernel.

    Left unchanged: a bias that is no constant or does not cover the last axis, a product whose
    leading axis the reshape changes.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        return update(mod, _sink)


def _sink(function: relax.Function) -> relax.Function:
    bound: dict[relax.Var, relax.Expr] = {}

    def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
        found = _product_and_bias(var, value, bound)
        if found is not None:
            product, bias = found
            total = builder.emit(relax.op.add(product, relax.const(bias)))
            value = relax.op.reshape(total, var.ty.shape)
        new = builder.emit(value)
        bound[new] = value
        return new

    return rebuild(function, emit)


def _product_and_bias(
    var: relax.Var, value: relax.Expr, bound: dict[relax.Var, relax.Expr]
) -> tuple[relax.Expr, object] | None:
    if name_of(value) != "relax.add":
        return None
    for view, bias in (value.args, list(value.args)[::-1]):
        reshape = bound.get(view) if isinstance(view, relax.Var) else None
        if not isinstance(bias, GenericConst) or name_of(reshape) != "relax.reshape":
            continue
        assert reshape is not None
        product = reshape.args[0]
        if name_of(bound.get(product)) != "relax.matmul":
            continue
        lead, *inner = shape_of(product)
        flat = shape_of(view)
        array = bias.value.numpy()
        covered = len(flat) == 2 and array.size == flat[1] and shape_of(var) == flat
        if covered and flat[0] == lead:
            return product, array.reshape(inner)
    return None
