"""The loops of a product of integers in tiles of dot products, on a core with MVE.

Activations whose columns are no neighbors are gathered in vectors, or in memory that the caller
provides; a helper that the C printer knows computes all rows of these columns.
"""

from __future__ import annotations

from collections.abc import Iterator

from tvm import tirx

from tvm_kp.kernel.dot_tiles import DotTiles, packed_blocks
from tvm_kp.kernel.integer_product import IntegerProduct
from tvm_kp.kernel.product_tiles import Packed, block_offset
from tvm_kp.kernel.statements import Index, address, call
from tvm_kp.kernel.tiled_loops import Batch, TiledLoops

_REACH = 2**16 // 7  # how far apart numbers may be that are gathered, with offsets of 16 bits


def is_near(product: IntegerProduct) -> bool:
    """Whether the numbers of a column of activations are near enough to be gathered."""
    return product.activations.depth <= _REACH


def dot_loops(function: tirx.PrimFunc, tiles: DotTiles) -> tirx.PrimFunc:
    """A function of the same operands that computes a product in ``tiles``; constants are packed.

    The product ``is_near``.
    """
    return _Loops(function, tiles).function()


class _Loops(TiledLoops):
    def __init__(self, function: tirx.PrimFunc, tiles: DotTiles) -> None:
        self._tiles = tiles
        size, dtype = tiles.panel * tiles.column, tiles.product.activations.dtype
        scratch = tirx.decl_buffer((size,), dtype, "scratch") if tiles.copied else None
        super().__init__(function, tiles, packed_blocks(tiles), scratch)

    def _copy(self, batch: Batch, first: Index, columns: int) -> list[tirx.Stmt]:
        tiles, operand = self._tiles, self._tiles.product.activations
        if self._scratch is None:
            return []
        name = f"kp_columns{tiles.bits}x{tiles.lanes}"
        source = address(self._params[operand.index], self._first(batch, first))
        sizes = operand.depth, tiles.product.depth, operand.column, columns
        return [call(name, address(self._scratch, 0), source, *sizes)]

    @property
    def _inside(self) -> int | None:
        return self._tiles.inside

    def _product(self, batch: Batch, first: Index, columns: int) -> tirx.Stmt:
        args: list[Index] = [
            self._target(batch, (0, first)),
            self._address(self._weights, batch, (0, first)),
            self._columns(batch, first),
        ]
        if self._bias is not None:
            args.append(self._address(self._bias, batch, (0, first)))
        by = self._factor
        args.append(self._address(by, batch, (0, first)) if isinstance(by, Packed) else by)
        return call(self._helper(columns), *args)

    def _columns(self, batch: Batch, first: Index) -> tirx.Expr:
        """Where the activations of a tile are."""
        if self._scratch is not None:
            return address(self._scratch, 0)
        operand = self._tiles.product.activations
        return address(self._params[operand.index], self._first(batch, first))

    def _first(self, batch: Batch, tile: Index) -> tirx.Expr:
        """The index of the first number of a tile among the activations."""
        operand = self._tiles.product.activations
        return block_offset(batch, operand.batch) + tile * (self._tiles.columns * operand.column)

    def _helper(self, columns: int) -> str:
        tiles, out = self._tiles, self._tiles.product.out
        start = "none" if self._bias is None else self._bias.form
        factor = self._factor.form if isinstance(self._factor, Packed) else "number"
        left = f"_left{tiles.product.left}" if tiles.product.left else ""
        parts = (
            f"kp_dots{tiles.product.rows}x{columns}_{tiles.rows}x{tiles.columns}",
            f"{tiles.product.depth}x{tiles.lanes}_{tiles.trip}x{tiles.written}_{start}_{factor}",
            f"x{tiles.bits}" + "_padded" * tiles.copied + "_kept" * tiles.kept,
            *(["gathered"] if tiles.gathered else []),
            *(["rows"] if tiles.by_rows else []),
            f"{tiles.column}_{tiles.step}",
            f"out{out.dtype.removeprefix('int')}{left}_{out.row}_{out.column}",
            *self._blocks(),
        )
        return "_".join(parts)

    def _blocks(self) -> Iterator[str]:
        """How many blocks are computed at once, and how far apart those of an operand are."""
        product, axis = self._tiles.product, self._inside
        if axis is None:
            return
        x = () if self._tiles.copied else product.activations.batch
        operands = self._weights.batch, x, product.out.batch
        numbers = (
            one.batch if isinstance(one, Packed) else () for one in (self._bias, self._factor)
        )
        steps = (steps[axis] if steps else 0 for steps in (*operands, *numbers))
        yield f"blocks{product.batch[axis]}x{self._tiles.together}_{'_'.join(map(str, steps))}"
