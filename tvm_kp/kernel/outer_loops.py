"""The loops of a product of floats in tiles of outer products.

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
from tvm.ir import TensorLoad, Var

from tvm_kp.artifacts import PACKING, Packing
from tvm_kp.kernel.outer_tiles import OuterTiles
from tvm_kp.kernel.statements import Index, call, loop, repeat, sequence


def outer_loops(tiles: OuterTiles) -> tirx.PrimFunc:
    """The function of a product, which it computes in ``tiles``; the weights are packed."""
    product, function, packing = tiles.product, tiles.product.function, tiles.packing
    params, weights, packings = list(function.params), None, {}
    if packing is not None and product.constant is not None:
        source = product.constant.source
        weights = tirx.decl_buffer((packing.size,), "float32", source.name)
        place = next(k for k, param in enumerate(params) if param.same_as(source))
        params[place], packings[place] = weights, asdict(packing)
    root, nest = function.body.block, _Nest(tiles, weights).statement()
    parts = root.body.seq if isinstance(root.body, tirx.SeqStmt) else [root.body]
    body = sequence([nest if _holds(stmt, product.block) else stmt for stmt in parts])
    block = s_tir.SBlock([], [], [], root.name_hint, body, None, root.alloc_buffers)
    scheduled = tirx.PrimFunc(
        params, s_tir.SBlockRealize([], True, block), function.ret_type, function.attrs
    )
    return scheduled.with_attr(PACKING, json.dumps(packings))


def _holds(stmt: tirx.Stmt, block: s_tir.SBlock) -> bool:
    found: list[bool] = []
    tvm_ffi.structural_walk(stmt, (s_tir.SBlock, lambda one: found.append(one.same_as(block))))
    return any(found)


class _Nest:
    """The tiles of all blocks; ``weights`` are packed, if there are any."""

    def __init__(self, tiles: OuterTiles, weights: Var | None) -> None:
        self._tiles, self._product, self._weights = tiles, tiles.product, weights
        self._looped = [axis for axis in self._product.batch if int(axis.dom.extent) > 1]
        # The axis along which a call computes all blocks.
        self._called = self._looped.pop() if self._looped and tiles.whole else None
        self._batch: Mapping[Var, Index] = {
            axis.var: tirx.Var(f"batch{k}", "int32") if axis in self._looped else 0
            for k, axis in enumerate(self._product.batch)
        }

    def statement(self) -> tirx.Stmt:
        body = sequence(list(self._rows()))
        for axis in reversed(self._looped):
            body = loop(self._batch[axis.var], int(axis.dom.extent), body)
        return body

    def _rows(self) -> Iterator[tirx.Stmt]:
        """All rows of tiles; the last one may lack rows."""
        rows = self._tiles.rows
        if self._tiles.whole:
            yield self._tile((0, 0), (0, 0), self._product.rows, self._product.columns)
            return
        whole, rest = divmod(self._product.rows, rows)
        yield from repeat("row", whole, lambda k: self._row(k, rows))
        if rest:
            yield self._row(whole, rest)

    def _row(self, row: Index, rows: int) -> tirx.Stmt:
        """A row of tiles."""
        tiles, columns = self._tiles, self._product.columns
        whole, rest = divmod(columns, tiles.width)

        def tile(column: Index, first: Index, live: int) -> tirx.Stmt:
            return self._tile((row, column), (row * tiles.rows, first), rows, live)

        row_of_tiles = repeat("column", whole, lambda k: tile(k, k * tiles.width, tiles.width))
        if rest and whole and tiles.overlaps:
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
            self._operand(product.scalars, tile, first),
            self._operand(product.vectors, tile, first),
        ]
        if product.start is not None:
            elements.append(product.element(product.start, self._batch, *first, 0))
        helper = self._tiles.helper(rows, columns) + self._blocks
        return call(helper, *map(tirx.address_of, elements))

    @property
    def _blocks(self) -> str:
        """How many blocks a call computes, and how far apart what they read is; empty for one."""
        product, axis = self._product, self._called
        if axis is None:
            return ""
        operands = (product.scalars, product.vectors, product.start)
        steps = [{} if operand is None else self._steps(operand) for operand in operands]
        apart = (str(one.get(axis.var, 0)) for one in steps)
        return f"_{int(axis.dom.extent)}_{'_'.join(apart)}"

    def _operand(
        self, operand: TensorLoad, tile: tuple[Index, Index], first: tuple[Index, Index]
    ) -> TensorLoad:
        """Where a tile begins to read an operand."""
        packing = self._tiles.packing
        if packing is None or operand is not self._product.constant:
            return self._product.element(operand, self._batch, *first, 0)
        return tirx.BufferLoad(self._weights, [self._place(operand, packing, *tile)])

    def _place(self, operand: TensorLoad, packing: Packing, row: Index, column: Index) -> Index:
        """Where the weights of a tile begin."""
        scalars = self._product.weights == "scalars"
        tiles = self._tiles.down if scalars else self._tiles.across
        place = (row if scalars else column) * (_block(packing) // tiles)
        for axis, step in self._steps(operand).items():
            place = place + self._batch[axis] * step
        return place

    def _steps(self, operand: TensorLoad) -> dict[Var, int]:
        """By axes of blocks, the numbers from what a block reads of an operand to the next."""
        sizes, packing = list(map(int, operand.source.shape)), self._tiles.packing
        if packing is not None and operand is self._product.constant:
            sizes[-2:] = _block(packing), 1
        indices = enumerate(operand.indices, 1)
        return {i: math.prod(sizes[axis:]) for axis, i in indices if i in self._batch}


def _block(packing: Packing) -> int:
    """Numbers of a packed matrix."""
    return math.prod(packing.parts[len(packing.shape) - 2 :])
