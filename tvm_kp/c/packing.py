"""Constants in the order in which kernels read them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tvm import relax, tirx
from tvm.ir import GenericConst

from tvm_kp.artifacts import PACKING, Packing


def packed_operands(kernel: tirx.PrimFunc, args: Sequence[relax.Expr]) -> list[relax.Expr]:
    """The operands of a call; constants that ``kernel`` wants packed are constants that are."""
    wanted = packings(kernel)
    return [_packed(arg, wanted.get(index)) for index, arg in enumerate(args)]


def packings(kernel: tirx.PrimFunc) -> dict[int, Packing]:
    """By the index of the operand: what the attribute ``PACKING`` of the kernel says."""
    if kernel.attrs is None or PACKING not in kernel.attrs:
        return {}
    entries = json.loads(str(kernel.attrs[PACKING]))
    return {int(index): Packing.from_dict(entry) for index, entry in entries.items()}


def _packed(operand: relax.Expr, packing: Packing | None) -> relax.Expr:
    if packing is None:
        return operand
    assert isinstance(operand, GenericConst), f"a kernel wants {operand} packed: no constant"
    return relax.const(packing.apply(operand.value.numpy()))
