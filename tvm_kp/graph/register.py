"""Relax operators of our own: Python may add to TVM's registry."""

from __future__ import annotations

from collections.abc import Callable

import tvm
import tvm_ffi
from tvm import relax

InferType = Callable[[relax.Call, relax.BlockBuilder], tvm.ir.Type]


def register(name: str, description: str, infer_type: InferType) -> None:
    """Register a pure operator; ``infer_type(call, builder)`` says what a call of it returns."""
    tvm_ffi.get_global_func("ir.RegisterOp")(name, description)
    tvm.ir.register_op_attr(name, "FInferType", infer_type)
    tvm.ir.register_op_attr(name, "FPurity", True)
    tvm.ir.register_op_attr(name, "TScriptPrinterName", name)
