"""Indices that count from the end, as PyTorch allows them, count from the start."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.graph.rewrite import name_of, rebuild, shape_of, update


@tvm.transform.module_pass(opt_level=0, name="WrapIndices")
class WrapIndices:
    """``take(x, -1) -> take(x, size - 1)``: TVM's ``take`` reads outside ``x`` for the first.

    Left unchanged: indices that are no constants, indices of at least 0.
    """

    __call__: ClassVar[Any]  # from module_pass

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        return update(mod, lambda function: rebuild(function, _emit))


def _emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
    if name_of(value) != "relax.take" or not isinstance(value.args[1], GenericConst):
        return builder.emit(value, var.name)
    source, indices = value.args[0], value.args[1].value.numpy()
    axis = value.attrs.axis
    size = int(np.prod(shape_of(source))) if axis is None else shape_of(source)[int(axis)]
    if not np.any(indices < 0):
        return builder.emit(value, var.name)
    wrapped = relax.const(np.where(indices < 0, indices + size, indices).astype(indices.dtype))
    return builder.emit(relax.op.take(source, wrapped, axis, value.attrs.mode), var.name)
