"""A product of float matrices: what a PrimFunc computes by outer products."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import TensorLoad, Var

from tvm_kp.artifacts import CONSTANTS
from tvm_kp.kernel.statements import Index
from tvm_kp.kernel.tiling import Product, find_product, start_from_bias

Axes = tuple[Var, Var, Var]


@dataclass(frozen=True)
class FloatProduct:
    """``out[…, i, j] = start[…, i, j] + Σ scalars[…, i, k] * vectors[…, k, j]``, in ``block`` of
    ``function``.

    ``weights`` says which operand is a constant that nothing else reads: "scalars", "vectors" or
    "none". ``form`` is what is added: "none", the same to every "row", or a number for each sum of
    a "tile". ``batch`` are the axes in front, ``axes`` those of i, j and k.
    """

    function: tirx.PrimFunc
    block: s_tir.SBlock
    batch: tuple[tirx.IterVar, ...]
    axes: Axes
    rows: int
    columns: int
    depth: int
    weights: str
    form: str
    out: TensorLoad
    scalars: TensorLoad
    vectors: TensorLoad
    start: TensorLoad | None

    @property
    def constant(self) -> TensorLoad | None:
        return {"scalars": self.scalars, "vectors": self.vectors}.get(self.weights)

    def element(self, access: TensorLoad, batch: Mapping[Var, Index], *at: Index) -> TensorLoad:
        """The element of ``access`` in the block ``batch`` at the row, column and step ``at``."""
        # A row that has a matrix of its own is a block.
        values = {**dict(zip(self.axes, at, strict=True)), **batch}
        return tirx.BufferLoad(access.source, [values.get(i, i) for i in access.indices])


def find_float_product(sch: s_tir.Schedule) -> FloatProduct | None:
    """The product that a function computes, or None; a bias becomes what its sums start at, if
    tiles know how rows and columns share it."""
    found = find_product(sch)
    if found is None or found.dtype != "float32":
        return None
    fused = sch.copy()
    block = fused.get(start_from_bias(fused, found))
    product = _described(fused.mod["main"], block, found)
    if not product.form:
        product = _described(sch.mod["main"], sch.get(found.block), found)
    return product if _is_dense(product) else None


def _described(function: tirx.PrimFunc, block: s_tir.SBlock, found: Product) -> FloatProduct:
    *batch, row, column, depth = block.iter_vars
    if found.rows < int(row.dom.extent):
        batch.append(row)  # Every row has a matrix of its own.
    axes = row.var, column.var, depth.var
    store, start = block.body, block.init.value
    loads = {load.source.name: load for load in (store.value.b.a, store.value.b.b)}
    scalars, vectors = loads[found.scalar], loads[found.vector]
    return FloatProduct(
        function,
        block,
        tuple(batch),
        axes,
        found.rows,
        found.columns,
        found.depth,
        _weights(function, scalars, vectors),
        _form(start, found.rows, axes) if isinstance(start, TensorLoad) else "none",
        tirx.BufferLoad(store.buffer, list(store.indices)),
        scalars,
        vectors,
        start if isinstance(start, TensorLoad) else None,
    )


def _weights(function: tirx.PrimFunc, scalars: TensorLoad, vectors: TensorLoad) -> str:
    """Which operand is a constant that nothing else reads."""
    noted = json.loads(str((function.attrs or {}).get(CONSTANTS, "[]")))
    constants = [function.params[index] for index in noted]
    read: list[Var] = []
    tvm_ffi.structural_walk(function.body, (TensorLoad, lambda load: read.append(load.source)))
    for name, load in (("vectors", vectors), ("scalars", scalars)):
        if load.source in constants and read.count(load.source) == 1:
            return name
    return "none"


def _form(start: TensorLoad, rows: int, axes: Axes) -> str:
    """How rows and columns share what sums start at; empty for a way that tiles do not know."""
    row, column, _ = axes
    *others, last = start.indices
    if not last.same_as(column):
        return ""
    if rows == 1 or not any(index.same_as(row) for index in others):
        return "row"
    return "tile" if others[-1].same_as(row) else ""


def _is_dense(product: FloatProduct) -> bool:
    """Whether rows of all operands, and what is in them, are neighbors in memory."""
    row, column, depth = product.axes

    def lies(access: TensorLoad, outer: Var, inner: Var) -> bool:
        single = outer is row and product.rows == 1
        neighbors = single or access.indices[-2].same_as(outer)
        return neighbors and access.indices[-1].same_as(inner)

    operands = lies(product.scalars, row, depth) and lies(product.vectors, depth, column)
    return operands and lies(product.out, row, column)
