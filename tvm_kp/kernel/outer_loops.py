"""The loops of a product of floats in tiles of outer products, on a core with MVE.

Helpers that the C printer knows compute the tiles. What a function computes beside the product
stays as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Var

from tvm_kp.artifacts import PACKING
from tvm_kp.kernel.outer_tiles import LANES, OuterTiles
from tvm_kp.kernel.statements import Index, call, loop, repeat, sequence


def outer_loops(tiles: OuterTiles) -> tirx.PrimFunc:
    """The function of a product, which it computes in ``tiles``; the weights are packed."""
    product = tiles.product
    function, weights = product.function, product.constant.source
    packed = tirx.decl_buffer((tiles.packing.size,), "float32", weights.name)
    root, nest = function.body.block, _Nest(tiles, packed).statement()
    parts = root.body.seq if isinstance(root.body, tirx.SeqStmt) else [root.body]
    body = sequence([nest if _holds(stmt, product.block) else stmt for stmt in parts])
    block = s_tir.SBlock([], [], [], root.name_hint, body, None, root.alloc_buffers)
    places = {k: param.same_as(weights) for k, param in enumerate(function.params)}
    params = [packed if places[k] else param for k, param in enumerate(function.params)]
    packings = {k: asdict(tiles.packing) for k in places if places[k]}
    scheduled = tirx.PrimFunc(
        params, s_tir.SBlockRealize([], True, block), function.ret_type, function.attrs
    )
    return scheduled.with_attr(PACKING, json.dumps(packings))


def _holds(stmt: tirx.Stmt, block: s_tir.SBlock) -> bool:
    found: list[bool] = []
    tvm_ffi.structural_walk(stmt, (s_tir.SBlock, lambda one: found.append(one.same_as(block))))
    return any(found)


class _Nest:
    """The tiles of all blocks; ``weights`` are packed."""

    def __init__(self, tiles: OuterTiles, weights: Var) -> None:
        self._tiles, self._product, self._weights = tiles, tiles.product, weights
        self._batch: Mapping[Var, Index] = {
            axis.var: tirx.Var(f"batch{k}", "int32") if int(axis.dom.extent) > 1 else 0
            for k, axis in enumerate(self._product.batch)
        }

    def statement(self) -> tirx.Stmt:
        body = sequence(list(self._rows()))
        for axis in reversed(self._product.batch):
            if int(axis.dom.extent) > 1:
                body = loop(self._batch[axis.var], int(axis.dom.extent), body)
        return body

    def _rows(self) -> Iterator[tirx.Stmt]:
        """All rows of tiles; the last one may lack rows."""
        rows = self._tiles.rows
        whole, rest = divmod(self._product.rows, rows)
        yield from repeat("row", whole, lambda k: self._row(k, rows))
        if rest:
            yield self._row(whole, rest)

    def _row(self, row: Index, rows: int) -> tirx.Stmt:
        """A row of tiles. The last one lacks columns, or overlaps the one before where vectors are
        not packed."""
        tiles, columns = self._tiles, self._product.columns
        whole, rest = divmod(columns, tiles.width)

        def tile(column: Index, first: Index, live: int) -> tirx.Stmt:
            return self._tile((row, column), (row * tiles.rows, first), rows, live)

        row_of_tiles = repeat("column", whole, lambda k: tile(k, k * tiles.width, tiles.width))
        if rest and whole and self._product.weights == "scalars":
            row_of_tiles.append(tile(whole, columns - tiles.width, tiles.width))
        elif rest:
            row_of_tiles.append(tile(whole, whole * tiles.width, rest))
        return sequence(row_of_tiles)

    def _tile(
        self, tile: tuple[Index, Index], first: tuple[Index, Index], rows: int, columns: int
    ) -> tirx.Stmt:
        """``rows`` x ``columns`` from ``first`` on; ``tile`` counts tiles."""
        product = self._product
        elements = [
            product.element(product.out, self._batch, *first, 0),
            tirx.BufferLoad(self._weights, [self._place(*tile)]),
            product.element(product.other, self._batch, *first, 0),
        ]
        if product.start is not None:
            elements.append(product.element(product.start, self._batch, *first, 0))
        return call(self._helper(rows, columns), *map(tirx.address_of, elements))

    def _place(self, row: Index, column: Index) -> Index:
        """Where the weights of a tile begin."""
        product, packing = self._product, self._tiles.packing
        *outer, _, _ = product.constant.indices
        *sizes, _, _ = packing.shape
        block = math.prod(packing.parts[len(sizes) :])
        scalars = product.weights == "scalars"
        tiles = self._tiles.down if scalars else self._tiles.across
        place = (row if scalars else column) * (block // tiles)
        for axis, index in enumerate(outer):
            place = place + self._batch.get(index, index) * (block * math.prod(sizes[axis + 1 :]))
        return place

    def _helper(self, rows: int, columns: int) -> str:
        tiles, product = self._tiles, self._product
        packed = tiles.rows if product.weights == "scalars" else tiles.vectors
        tail = f"_tail{columns % LANES}" if columns % LANES else ""
        size = f"{rows}x{-(-columns // LANES)}_{product.depth}x{product.columns}"
        return f"kp_outer{size}_{product.weights}{packed}_{product.form}_{tiles.unroll}{tail}"
