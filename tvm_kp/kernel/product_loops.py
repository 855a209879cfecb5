"""The loops of a product of integers in tiles, on a core with DSP instructions.

The activations are unpacked into memory that the caller provides; then helpers that the C printer
knows compute tile by tile.
"""

from __future__ import annotations

from tvm import tirx

from tvm_kp.kernel.product_tiles import Tiles, block_offset, packed_weights
from tvm_kp.kernel.statements import Index, address, call, repeat, sequence
from tvm_kp.kernel.tiled_loops import Batch, TiledLoops
from tvm_kp.kernel.unpacked_columns import UnpackedColumns


def product_loops(function: tirx.PrimFunc, tiles: Tiles) -> tirx.PrimFunc:
    """A function of the same operands that computes a product in ``tiles``; constants are packed.

    Its last parameter is memory that the caller provides.
    """
    return _Loops(function, tiles).function()


class _Loops(TiledLoops):
    def __init__(self, function: tirx.PrimFunc, tiles: Tiles) -> None:
        self._tiles = tiles
        # The activations, then the widened weights of a row of tiles.
        self._wide = -(-tiles.panel // tiles.columns) * tiles.words
        widened = tiles.weights == "wide"
        size = self._wide + (2 * tiles.pairs * tiles.rows if widened else 0)
        self._scratch = tirx.decl_buffer((size,), "int16", "scratch")
        super().__init__(function, tiles, packed_weights(tiles), self._scratch)
        activations = self._params[tiles.product.activations.index]
        self._unpacked = UnpackedColumns(tiles, activations, self._scratch)

    def _copy(self, batch: Batch, first: Index, columns: int) -> list[tirx.Stmt]:
        operand = self._tiles.product.activations
        start = block_offset(batch, operand.batch) + first * (self._tiles.columns * operand.column)
        return [self._unpacked.copy(start, columns)]

    def _product(self, batch: Batch, first: Index, columns: int) -> tirx.Stmt:
        tiles, rows = self._tiles, self._tiles.product.rows
        across = -(-columns // tiles.columns)
        last = columns - (across - 1) * tiles.columns
        if not tiles.along:
            live = rows - (tiles.down - 1) * tiles.rows

            def column(k: Index, end: int) -> tirx.Stmt:
                return self._tile(batch, (0, first + k), k, tiles.down, (live, end))

            whole, rest = divmod(columns, tiles.columns)
            ends = [column(whole, rest)] if rest else []
            return sequence(repeat("column", whole, lambda k: column(k, tiles.columns)) + ends)

        def strip(row: Index, live: int) -> tirx.Stmt:
            products = self._tile(batch, (row, first), 0, across, (live, last))
            if tiles.weights == "stored":
                return products
            source = self._address(self._weights, batch, (row, 0))
            words = tiles.pairs * tiles.rows // 2
            widen = call("kp_widen", address(self._scratch, self._wide), source, words)
            return sequence([widen, products])

        whole, rest = divmod(rows, tiles.rows)
        strips = repeat("row", whole, lambda k: strip(k, tiles.rows))
        return sequence(strips + ([strip(whole, rest)] if rest else []))

    def _tile(
        self,
        batch: Batch,
        place: tuple[Index, Index],
        unpacked: int,
        count: int,
        size: tuple[int, int],
    ) -> tirx.Stmt:
        """``count`` tiles from ``place`` (row, column) on; the last is of ``size``.

        ``unpacked`` says at which tile of the scratch their activations are.
        """
        tiles, out = self._tiles, self._tiles.product.out
        weights = self._address(self._weights, batch, place)
        args: list[Index] = [
            self._target(batch, place),
            address(self._scratch, self._wide) if tiles.weights == "wide" else weights,
            address(self._scratch, unpacked * tiles.words),
        ]
        if self._bias is not None:
            args.append(self._address(self._bias, batch, place))
        args += [self._by(batch, place), count, out.row, size[0]]
        args += [out.column, size[1]] if tiles.columns > 1 else []
        return call(self._helper, *args)

    @property
    def _helper(self) -> str:
        tiles = self._tiles
        kind = "w" if tiles.along else "s" if tiles.weights == "stored" else ""
        size = f"{tiles.rows}x{tiles.columns}_{tiles.pairs}{kind}"
        return f"kp_product{size}_{tiles.trip}_{tiles.straight}_{self._forms}"
