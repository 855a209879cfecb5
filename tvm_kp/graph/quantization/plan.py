"""What is decided of a quantized model before any of it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.graph.calibrate import NOTHING, Range, Ranges
from tvm_kp.graph.quantization import formats
from tvm_kp.graph.quantization.formats import Format
from tvm_kp.graph.quantization.products import Product
from tvm_kp.graph.quantization.storage import Storage, Stored
from tvm_kp.graph.rewrite import values


@dataclass(frozen=True)
class Quantization:
    """How to quantize.

    ``bits`` are those of activations, ``io_bits`` those in which inputs are taken and outputs
    given, None for floats; with ``allow_float`` an operator without an integer form runs in float.
    """

    bits: int
    io_bits: int | None = None
    allow_float: bool = False


@dataclass(frozen=True)
class Plan:
    """The products of a module, by what they store, and how every tensor that is kept is stored."""

    how: Quantization
    storage: Storage
    products: Mapping[relax.Var, Product]
    ranges: Mapping[Stored, Range]
    formats: Mapping[Stored, Format]

    def format(self, tensor: relax.Expr) -> Format:
        return self.formats[self.storage[tensor]]


def plan(mod: tvm.IRModule, ranges: Ranges, how: Quantization) -> Plan:
    """Formats for ``mod``, whose tensors have ``ranges``."""
    storage = Storage(mod)
    bound: dict[relax.Var, relax.Expr] = {}
    for _, function in mod.functions_items():
        bound |= values(function) if isinstance(function, relax.Function) else {}
    products = {
        var: Product.of(bound[product], bias) for var, (product, bias) in storage.products.items()
    }
    limits: dict[Stored, int] = {}
    for product in products.values():
        read = storage[product.x]
        limits[read] = min(limits.get(read, 1 << 31), product.input_limit())
    together = {one: _range(one, ranges) for one in storage.all}
    chosen = formats.choose(storage, together, how.bits, how.io_bits, limits)
    return Plan(how, storage, products, together, chosen)


def _range(stored: Stored, ranges: Ranges) -> Range:
    """Of all that is the same data, constants included."""
    result = NOTHING
    for member in stored.members:
        if not isinstance(member, GenericConst):
            result |= ranges.get(member, NOTHING)
        elif str(member.ty.dtype.dtype).startswith("float"):
            array = np.asarray(member.value.numpy())
            low, high = float(array.min(initial=0.0)), float(array.max(initial=0.0))
            result |= Range(low, high, max(-low, high))
    return result
