"""Products with the factors of a weight, one form for each kind of structure."""

from __future__ import annotations

from functools import singledispatch
from math import prod

import numpy as np
from tvm import relax

from tvm_kp.structure import Hybrid, KroneckerSum, LowRank, Product, Structure, ThreeFactors


@singledispatch
def apply(found: Structure, builder: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    """``x·Wᵀ`` for x (…, N) with the structure of W (M, N), emitted to ``builder``; (…, M)."""
    raise TypeError(f"no product with a {type(found).__name__}")


@apply.register
def _(found: Product, builder: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    return _kronecker(builder, x, found.a[:, None], found.b[:, None], found.order)


@apply.register
def _(found: KroneckerSum, builder: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    return _kronecker(builder, x, found.a, found.b, found.order)


def _kronecker(
    builder: relax.BlockBuilder, x: relax.Expr, a: np.ndarray, b: np.ndarray, order: str
) -> relax.Expr:
    """Two batched matmuls with a (blocks, terms, m1, n1) and b (blocks, terms, m2, n2).

    A_k stand above each other (or beside), entry by entry, so that the first product's result is
    what the second sums over, the terms included, without moving anything.
    """
    blocks, terms, m1, n1 = a.shape
    m2, n2 = b.shape[2:]
    op, emit, lead = relax.op, builder.emit, _lead(x)
    if order == "a_first":
        above = a.transpose(0, 2, 1, 3).reshape(blocks * m1 * terms, n1)
        held = emit(op.matmul(_constant(above), emit(op.reshape(x, (*lead, n1, n2)))))
        held = emit(op.reshape(held, (*lead, blocks, m1, terms * n2)))
        b_t = b.transpose(0, 1, 3, 2).reshape(blocks, terms * n2, m2)
        result = emit(op.matmul(held, _constant(b_t)))
    else:
        beside = b.transpose(0, 3, 1, 2).reshape(blocks, n2, terms * m2)
        held = emit(op.matmul(emit(op.reshape(x, (*lead, 1, n1, n2))), _constant(beside)))
        if terms > 1:
            held = emit(op.reshape(held, (*lead, blocks, n1 * terms, m2)))
        all_a = a.transpose(0, 2, 3, 1).reshape(blocks, m1, n1 * terms)
        result = emit(op.matmul(_constant(all_a), held))
    return emit(op.reshape(result, (*lead, blocks * m1 * m2)))


@apply.register
def _(found: LowRank, builder: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    blocks, rows, rank = found.u.shape
    op, emit, lead = relax.op, builder.emit, _lead(x)
    v_t = found.v.reshape(blocks * rank, -1).T
    held = emit(op.matmul(x, _constant(v_t)))
    if blocks == 1:
        return emit(op.matmul(held, _constant(found.u[0].T)))
    held = emit(op.reshape(held, (*lead, blocks, 1, rank)))
    result = emit(op.matmul(held, _constant(found.u.transpose(0, 2, 1))))
    return emit(op.reshape(result, (*lead, blocks * rows)))


@apply.register
def _(found: Hybrid, builder: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    op, emit, blocks = relax.op, builder.emit, found.blocks
    top = emit(op.matmul(x, _constant(found.top.reshape(blocks * found.split_row, -1).T)))
    below = apply(found.below, builder, x)
    if blocks == 1:
        return emit(op.concat([top, below], axis=-1))
    tops, belows = (emit(op.split(side, blocks, axis=-1)) for side in (top, below))
    parts = [emit(side[k]) for k in range(blocks) for side in (tops, belows)]
    return emit(op.concat(parts, axis=-1))


@apply.register
def _(found: ThreeFactors, builder: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    """x as a tensor (n1, n2, n3), each factor multiplied along its axis."""
    op, emit, lead = relax.op, builder.emit, _lead(x)
    sizes = [n for _, n in found.factors]
    held, blocks = x, 1
    for index in map("abc".index, found.order):
        factor = (found.a, found.b, found.c)[index]
        before, after = prod(sizes[:index]), prod(sizes[index + 1 :])
        if index == 2:
            held = emit(op.reshape(held, (*lead, blocks, before, sizes[2])))
            held = emit(op.matmul(held, _constant(factor.transpose(0, 2, 1))))
        else:
            panels = (before,) if index else ()
            held = emit(op.reshape(held, (*lead, blocks, *panels, sizes[index], after)))
            held = emit(op.matmul(_constant(factor[:, None] if index else factor), held))
        sizes[index], blocks = factor.shape[1], found.blocks
    return emit(op.reshape(held, (*lead, found.shape[0])))


def _lead(x: relax.Expr) -> list[relax.Expr]:
    return list(x.ty.shape)[:-1]


def _constant(array: np.ndarray) -> relax.Expr:
    return relax.const(np.ascontiguousarray(array))
