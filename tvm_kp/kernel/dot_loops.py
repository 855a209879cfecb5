"""The loops of a product of integers in tiles of dot products, on a core with MVE.

Activations whose columns are no whole blocks of neighbors are gathered in vectors, or in memory
that the caller provides; then helpers that the C printer knows compute all rows of one or two
columns.
"""

from __future__ import annotations

from tvm import tirx

from tvm_kp.kernel.dot_tiles import DotTiles, packed_blocks
from tvm_kp.kernel.integer_product import IntegerProduct
from tvm_kp.kernel.product_tiles import Packed, block_offset
from tvm_kp.kernel.statements import Index, address, call, repeat, sequence
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

    def _product(self, batch: Batch, first: Index, columns: int) -> tirx.Stmt:
        width = self._tiles.columns
        whole, rest = divmod(columns, width)

        def tile(index: Index) -> tirx.Stmt:
            return self._tile(batch, first, index, width)

        unrolled = self._tiles.unrolled
        tiles = [tile(k) for k in range(whole)] if unrolled else repeat("column", whole, tile)
        return sequence(tiles + ([self._tile(batch, first, whole, rest)] if rest else []))

    def _tile(self, batch: Batch, first: Index, index: Index, columns: int) -> tirx.Stmt:
        """All rows of ``columns``, from tile ``index`` of those that begin with ``first`` on."""
        tiles, out, place = self._tiles, self._tiles.product.out, (0, first + index)
        args: list[Index] = [
            self._target(batch, place),
            self._address(self._weights, batch, place),
            self._columns(batch, first, index),
        ]
        if self._bias is not None:
            args += [self._address(self._bias, batch, place), self._bias.down]
        args.append(self._by(batch, place))
        if isinstance(self._factor, Packed) and self._factor.form != "one":
            args.append(self._factor.down)
        args += [tiles.product.rows, out.row]
        args += [tiles.column, out.column] if columns == 2 else []
        args += [tiles.product.activations.depth] if tiles.gathered else []
        return call(self._helper(columns), *args)

    def _columns(self, batch: Batch, first: Index, index: Index) -> tirx.Expr:
        """Where the activations of a tile are."""
        tiles = self._tiles
        if self._scratch is not None:
            return address(self._scratch, index * (tiles.columns * tiles.column))
        start = self._first(batch, first + index)
        return address(self._params[tiles.product.activations.index], start)

    def _first(self, batch: Batch, tile: Index) -> tirx.Expr:
        """The index of the first number of a tile among the activations."""
        operand = self._tiles.product.activations
        return block_offset(batch, operand.batch) + tile * (self._tiles.columns * operand.column)

    def _helper(self, columns: int) -> str:
        tiles = self._tiles
        apart = "_apart" if tiles.product.out.row > 1 else ""
        rest = "_rest" if tiles.product.rows % tiles.rows else ""
        size = f"{tiles.rows}x{columns}_{tiles.blocks}x{tiles.lanes}_{tiles.bits}"
        kept = f"_tail{tiles.tail}" if tiles.tail else ""
        kept += "_kept" * tiles.kept + "_gathered" * tiles.gathered
        return f"kp_dots{size}{kept}_{tiles.trip}_{self._forms}{apart}{rest}"
