"""``kp.integer_matmul(a, b, factor[, bias])``: a product of integers, requantized as it is stored.

``a`` (…, M, K) and ``b`` (…, K, N) broadcast as in ``relax.matmul``; one of the two is a constant,
the weights. The result is ``fixedpoint.requantize(a·b + bias, factor)``, int8 or int16; ``bias``
and ``factor``, int32, broadcast to it. The function that it becomes says in its attribute
``ATTRIBUTE`` what it computes, for rules that have a kernel of their own for it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import tvm
from tvm import relax, te, tirx
from tvm.ir import GenericConst

from tvm_kp.fixedpoint import Multiplier
from tvm_kp.graph.integer_arithmetic import broadcast, immediate, requantized
from tvm_kp.graph.register import register
from tvm_kp.graph.rewrite import shape_of

OP_NAME = "kp.integer_matmul"
ATTRIBUTE = "kp.integer_matmul"
_OPAQUE = 8  # TOpPattern: nothing is fused with it, so that rules find it whole


def integer_matmul(
    a: relax.Expr, b: relax.Expr, multiplier: Multiplier, bits: int, bias: relax.Expr | None = None
) -> relax.Call:
    """Build a call; the result has ``bits``, 8 or 16."""
    factor = relax.const(multiplier.factor, "int32")
    args = [a, b, factor] if bias is None else [a, b, factor, bias]
    attributes = {"left": multiplier.left, "dtype": f"int{bits}"}
    return relax.Call(tvm.ir.Op.get(OP_NAME), args, tvm.ir.make_node("ir.DictAttrs", **attributes))


def legalize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """The operator as loops, with ``ATTRIBUTE``."""
    shape = [int(size) for size in call.ty.shape]
    operands: list[te.Tensor | tirx.Expr] = []
    for name, arg in zip(("a", "b", "factor", "bias"), call.args, strict=False):
        number = immediate(arg)
        inline = name == "factor" and isinstance(number, tirx.IntImm)
        operands.append(
            number if inline else te.placeholder(shape_of(arg), str(arg.ty.dtype.dtype), name)
        )
    result = _compute(shape, call.attrs, *operands)
    tensors = [operand for operand in operands if isinstance(operand, te.Tensor)]
    described = json.dumps(_description(call, operands))
    function = te.create_prim_func([*tensors, result]).without_attr("global_symbol")
    function = function.with_attrs({"op_pattern": _OPAQUE, ATTRIBUTE: described})
    pairs = zip(call.args, operands, strict=True)
    args = [arg for arg, one in pairs if isinstance(one, te.Tensor)]
    return relax.call_tir(builder.add_func(function, "integer_matmul"), args, call.ty)


def _description(call: relax.Call, operands: Sequence[te.Tensor | tirx.Expr]) -> dict[str, Any]:
    """Indices of parameters: the weights', the factor's (or the number itself), the bias'."""
    _, _, factor, *bias = operands
    inline = not isinstance(factor, te.Tensor)
    return {
        "weights": 0 if isinstance(call.args[0], GenericConst) else 1,
        "factor": None if inline else 2,
        "multiplier": int(factor) if inline else None,
        "bias": (2 if inline else 3) if bias else None,
        "left": int(call.attrs["left"]),
    }


def _compute(
    shape: list[int],
    attrs: Any,
    a: te.Tensor,
    b: te.Tensor,
    factor: te.Tensor | tirx.Expr,
    bias: te.Tensor | None = None,
) -> te.Tensor:
    k = te.reduce_axis((0, a.shape[-1]), "k")

    def product(*index: tirx.Var) -> tirx.Expr:
        *batch, i, j = index
        left = broadcast(a, [*batch, i, k]).astype("int32")
        return te.sum(left * broadcast(b, [*batch, k, j]).astype("int32"), axis=k)

    total = te.compute(shape, product, name="product")
    if bias is not None:
        total = te.compute(shape, lambda *at: total(*at) + broadcast(bias, at), name="biased")

    def element(*at: tirx.Var) -> tirx.Expr:
        left, dtype = int(attrs["left"]), str(attrs["dtype"])
        return requantized(total(*at), broadcast(factor, at), left, dtype)

    return te.compute(shape, element, name="requantized")


def _infer_type(call: relax.Call, _builder: relax.BlockBuilder) -> relax.TensorType:
    a, b = shape_of(call.args[0]), shape_of(call.args[1])
    if a[-1] != b[-2]:
        raise ValueError(f"{OP_NAME} of {a} and {b}: the inner sizes differ")
    pairs = zip(_padded(a, len(b)), _padded(b, len(a)), strict=True)
    return relax.TensorType([*(max(pair) for pair in pairs), a[-2], b[-1]], call.attrs["dtype"])


def _padded(shape: list[int], rank: int) -> list[int]:
    """The batch axes of a shape, as many as those of one with ``rank`` axes at least."""
    return [1] * (rank - len(shape)) + shape[:-2]


register(OP_NAME, "A product of integers, requantized.", _infer_type)
