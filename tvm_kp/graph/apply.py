"""Products with the factors of a weight, one form for each kind of structure."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from math import prod
from typing import NamedTuple

import numpy as np
import tvm
from tvm import relax, tirx

from tvm_kp.graph.sparse import add_entries
from tvm_kp.structure import Doped, Hybrid, KroneckerSum, LowRank, Product, Structure, ThreeFactors


class Emitter(NamedTuple):
    """Where operators go: ``emit`` binds one in the function, ``add`` a PrimFunc in its module."""

    emit: Callable[[relax.Expr], relax.Expr]
    add: Callable[[tirx.PrimFunc, str], tvm.ir.GlobalVar]


@singledispatch
def apply(found: Structure, to: Emitter, x: relax.Expr) -> relax.Expr:
    """``x·Wᵀ`` for x (…, N) with the structure of W (M, N), (…, M)."""
    raise TypeError(f"no product with a {type(found).__name__}")


@apply.register
def _(found: Product, to: Emitter, x: relax.Expr) -> relax.Expr:
    return _kronecker(to, x, found.a[:, None], found.b[:, None], found.order)


@apply.register
def _(found: KroneckerSum, to: Emitter, x: relax.Expr) -> relax.Expr:
    return _kronecker(to, x, found.a, found.b, found.order)


def _kronecker(to: Emitter, x: relax.Expr, a: np.ndarray, b: np.ndarray, order: str) -> relax.Expr:
    """Two batched matmuls with a (blocks, terms, m1, n1) and b (blocks, terms, m2, n2).

    A_k stand above each other (or beside), entry by entry, so that the first product's result is
    what the second sums over, the terms included, without moving anything.
    """
    blocks, terms, m1, n1 = a.shape
    m2, n2 = b.shape[2:]
    op, emit, lead = relax.op, to.emit, _lead(x)
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
def _(found: LowRank, to: Emitter, x: relax.Expr) -> relax.Expr:
    blocks, rows, rank = found.u.shape
    op, emit, lead = relax.op, to.emit, _lead(x)
    v_t = found.v.reshape(blocks * rank, -1).T
    held = emit(op.matmul(x, _constant(v_t)))
    if blocks == 1:
        return emit(op.matmul(held, _constant(found.u[0].T)))
    held = emit(op.reshape(held, (*lead, blocks, 1, rank)))
    result = emit(op.matmul(held, _constant(found.u.transpose(0, 2, 1))))
    return emit(op.reshape(result, (*lead, blocks * rows)))


@apply.register
def _(found: Hybrid, to: Emitter, x: relax.Expr) -> relax.Expr:
    op, emit, blocks = relax.op, to.emit, found.blocks
    top = emit(op.matmul(x, _constant(found.top.reshape(blocks * found.split_row, -1).T)))
    below = apply(found.below, to, x)
    if blocks == 1:
        return emit(op.concat([top, below], axis=-1))
    tops, belows = (emit(op.split(side, blocks, axis=-1)) for side in (top, below))
    parts = [emit(side[k]) for k in range(blocks) for side in (tops, belows)]
    return emit(op.concat(parts, axis=-1))


@apply.register
def _(found: ThreeFactors, to: Emitter, x: relax.Expr) -> relax.Expr:
    """x as a tensor (n1, n2, n3), each factor multiplied along its axis."""
    op, emit, lead = relax.op, to.emit, _lead(x)
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


@apply.register
def _(found: Doped, to: Emitter, x: relax.Expr) -> relax.Expr:
    op, emit, lead = relax.op, to.emit, _lead(x)
    batch = prod(int(n) if isinstance(n, tirx.IntImm) else n for n in lead)
    rows, columns = found.shape
    product = emit(op.reshape(apply(found.kept, to, x), (batch, rows)))
    size = batch if isinstance(batch, int) else tirx.Var("batch", "int64")
    function = add_entries(size, found.shape, found.nonzeros, str(found.rows.dtype))
    args = [product, emit(op.reshape(x, (batch, columns)))]
    args += [_constant(part) for part in (found.rows, found.columns, found.values)]
    out = relax.TensorType((batch, rows), "float32")
    result = emit(relax.call_tir(to.add(function, "entries"), args, out))
    return emit(op.reshape(result, (*lead, rows)))


def take_rows(found: Product, to: Emitter, indices: relax.Expr) -> relax.Expr:
    """Rows of W = A ⊗ B (M, N), (…, N) for ``indices`` (…): every one a product of two rows."""
    (_, n1), (m2, n2) = found.factors
    op, emit, shape = relax.op, to.emit, list(indices.ty.shape)
    size = relax.const(m2, str(indices.ty.dtype))
    of_a, of_b = emit(op.floor_divide(indices, size)), emit(op.floor_mod(indices, size))
    rows_a = emit(op.take(_constant(found.a[0]), of_a, axis=0))
    rows_b = emit(op.take(_constant(found.b[0]), of_b, axis=0))
    tall, wide = (*shape, n1, 1), (*shape, 1, n2)
    pairs = op.multiply(emit(op.reshape(rows_a, tall)), emit(op.reshape(rows_b, wide)))
    return emit(op.reshape(emit(pairs), (*shape, n1 * n2)))


def _lead(x: relax.Expr) -> list[relax.Expr]:
    return list(x.ty.shape)[:-1]


def _constant(array: np.ndarray) -> relax.Expr:
    return relax.const(np.ascontiguousarray(array))
