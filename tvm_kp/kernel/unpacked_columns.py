"""Copies of activations in the order in which the tiles of a product read them.

A column becomes pairs of int16, neighbors along the sum; the columns of a tile alternate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tvm import tirx

from tvm_kp.kernel.product_tiles import Tiles
from tvm_kp.kernel.statements import Index, address, call, repeat, sequence


@dataclass(frozen=True)
class UnpackedColumns:
    """``scratch`` holds columns of ``activations``, beginning with element 0."""

    tiles: Tiles
    activations: tirx.Buffer
    scratch: tirx.Buffer

    def copy(self, source: Index, columns: int) -> tirx.Stmt:
        """Copy ``columns`` of them; ``source`` is the index of the first element.

        What the last tile lacks, and the second of an odd pair, become 0.
        """
        width, step = self.tiles.columns, self.tiles.product.activations.column
        whole, rest = divmod(columns, width)

        def tile(k: Index, live: int) -> tirx.Stmt:
            start, target = source + k * (width * step), k * self.tiles.words
            if live == width:
                return sequence(list(self._whole(start, target)))
            return sequence(list(self._part(start, target, live)))

        tails = [tile(whole, rest)] if rest else []
        return sequence(repeat("column", whole, lambda k: tile(k, width)) + tails)

    def _whole(self, source: Index, target: Index) -> Iterator[tirx.Stmt]:
        """Copy a tile: as many pairs of its columns at a time as a helper copies."""
        operand, width = self.tiles.product.activations, self.tiles.columns
        pairs = 2 if width == 1 else 1  # of one column
        times = self.tiles.product.depth // (2 * pairs)
        if times:
            bits = operand.dtype.removeprefix("int")
            pointers = address(self.scratch, target), address(self.activations, source)
            yield call(f"kp_{self._verb}{bits}", *pointers, *self._steps, times)
        for pair in range(times * pairs, self.tiles.pairs):
            yield from self._pair(source, target, pair, width)

    @property
    def _verb(self) -> str:
        """What a helper does with the activations of a tile."""
        width, operand = self.tiles.columns, self.tiles.product.activations
        if width == 2 and operand.column == 1:
            return "interleave"
        return "adjoin" if width <= 2 else "adjoin3x"

    @property
    def _steps(self) -> tuple[int, ...]:
        """How far apart the activations are that a helper copies, and those that come next."""
        operand = self.tiles.product.activations
        if self._verb == "adjoin":
            return (operand.column, 2) if self.tiles.columns == 2 else (2, 4)
        between = () if self._verb == "interleave" else (operand.column,)
        return *between, operand.depth, 2 * operand.depth

    def _part(self, source: Index, target: Index, columns: int) -> Iterator[tirx.Stmt]:
        """Copy the first ``columns`` of a tile that lacks others."""
        whole = self.tiles.product.depth // 2
        yield from repeat(
            "k", whole, lambda k: sequence(list(self._pair(source, target, k, columns)))
        )
        for pair in range(whole, self.tiles.pairs):
            yield from self._pair(source, target, pair, columns)

    def _pair(self, source: Index, target: Index, pair: Index, columns: int) -> Iterator[tirx.Stmt]:
        """Copy a pair of each of ``columns``; the number of the last one, odd or not, is known."""
        operand, width = self.tiles.product.activations, self.tiles.columns
        last = isinstance(pair, int) and 2 * pair + 1 == self.tiles.product.depth
        for k in range(2 * width):
            column, second = divmod(k, 2)
            place = source + column * operand.column + (pair * 2 + second) * operand.depth
            live = column < columns and not (second and last)
            value = tirx.BufferLoad(self.activations, [place]) if live else tirx.const(0, "int16")
            index = target + pair * (2 * width) + k
            yield tirx.BufferStore(self.scratch, value.astype("int16"), [index])
