"""What a kernel is called in records of tuning: the same for the same loops in any model."""

from __future__ import annotations

import json

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr

from tvm_kp.kernel.integer_product import ATTRIBUTE


def key(function: tirx.PrimFunc) -> str:
    """16 hexadecimal digits: a hash of shapes, types and operators, names and numbers left out.

    Networks of one shape differ in weights and in the multipliers that these were quantized to;
    what is fast for one is fast for the others.
    """
    body = tvm_ffi.structural_map(function.body, (tirx.BufferStore, _without_numbers))
    plain = tirx.PrimFunc(function.params, body, function.ret_type)
    if function.attrs is not None and ATTRIBUTE in function.attrs:
        described = json.loads(str(function.attrs[ATTRIBUTE]))
        described["multiplier"] = described["multiplier"] is not None
        plain = plain.with_attr(ATTRIBUTE, json.dumps(described, sort_keys=True))
    return f"{tvm_ffi.structural_hash(plain) & (1 << 64) - 1:016x}"


def label(function: tirx.PrimFunc, name: str) -> str:
    """A kernel for people: its operator, and the shapes and types of its parameters."""
    shapes = (
        f"{'x'.join(str(int(size)) for size in param.shape) or '1'} {param.dtype}"
        for param in function.params
    )
    return f"{name.rstrip('0123456789')}: {', '.join(shapes)}"


def _without_numbers(store: tirx.BufferStore) -> tirx.BufferStore:
    def nothing(number: Expr) -> Expr:
        return tirx.const(0, str(number.ty.dtype))

    numbers = (tirx.IntImm, nothing), (tirx.FloatImm, nothing)
    value = tvm_ffi.structural_map(store.value, numbers)
    return tirx.BufferStore(store.buffer, value, store.indices)
