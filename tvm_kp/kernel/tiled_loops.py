"""The loops of a product of integers in tiles, around what a tile costs on some core."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from tvm import tirx

from tvm_kp.artifacts import PACKING, Packing
from tvm_kp.kernel.integer_product import Operand
from tvm_kp.kernel.product_tiles import Packed, Tiling, block_offset, packed_numbers
from tvm_kp.kernel.statements import Index, address, loop, repeat, sequence

Batch = Sequence[Index]


class TiledLoops(ABC):
    """Builds a function of the same operands as ``function``, whose constants are packed.

    Where there is a ``scratch``, it is the last parameter: memory that the caller provides.
    """

    def __init__(
        self,
        function: tirx.PrimFunc,
        tiles: Tiling,
        weights: Packed,
        scratch: tirx.Buffer | None,
    ) -> None:
        self._tiling, self._weights, self._scratch = tiles, weights, scratch
        bias, factor = tiles.product.bias, tiles.product.factor
        self._bias = None if bias is None else packed_numbers(tiles, bias, may_be_one=False)
        self._factor = (
            packed_numbers(tiles, factor, may_be_one=True)
            if isinstance(factor, Operand)
            else factor
        )
        packings = dict(self._packings())
        self._params = [
            _flat(param, packings.get(index)) for index, param in enumerate(function.params)
        ]

    @property
    def _inside(self) -> int | None:
        """The axis of blocks that ``_product`` computes at once, if it does."""
        return None

    @abstractmethod
    def _copy(self, batch: Batch, first: Index, columns: int) -> list[tirx.Stmt]:
        """Unpack ``columns`` of activations from the tile ``first`` on."""

    @abstractmethod
    def _product(self, batch: Batch, first: Index, columns: int) -> tirx.Stmt:
        """All rows times the ``columns`` that were unpacked; ``first`` is their first tile."""

    def function(self) -> tirx.PrimFunc:
        extents, steps = self._tiling.product.batch, self._tiling.product.activations.batch
        batch: list[Index] = [
            tirx.Var(f"batch{axis}", "int32") if extent > 1 and axis != self._inside else 0
            for axis, extent in enumerate(extents)
        ]
        axes = [axis for axis, extent in enumerate(extents) if extent > 1 and axis != self._inside]
        # The activations of a block are unpacked once, for all that is multiplied by them.
        inner = [axis for axis in axes if not steps[axis]]

        def nest(nested: Sequence[int], body: tirx.Stmt) -> tirx.Stmt:
            for axis in reversed(nested):
                body = loop(batch[axis], extents[axis], body)
            return body

        def panel(first: Index, columns: int) -> tirx.Stmt:
            product = nest(inner, self._product(batch, first, columns))
            return sequence([*self._copy(batch, first, columns), product])

        body = nest([axis for axis in axes if steps[axis]], sequence(list(self._panels(panel))))
        packings = {index: asdict(packing) for index, packing in self._packings()}
        memory = [] if self._scratch is None else [self._scratch]
        function = tirx.PrimFunc([*self._params, *memory], body)
        return function.with_attr(PACKING, json.dumps(packings))

    def _packings(self) -> Iterator[tuple[int, Packing]]:
        for packed in (self._weights, self._bias, self._factor):
            if isinstance(packed, Packed) and packed.packing is not None:
                yield packed.index, packed.packing

    def _panels(self, panel: Callable[[Index, int], tirx.Stmt]) -> Iterator[tirx.Stmt]:
        """``panel(first tile, columns)`` for all columns, as many at a time as are unpacked."""
        width, columns = self._tiling.panel, self._tiling.columns
        whole, rest = divmod(self._tiling.product.columns, width)
        tiles = -(-width // columns)
        yield from repeat("panel", whole, lambda k: panel(k * tiles, width))
        if rest:
            yield panel(whole * tiles, rest)

    def _by(self, batch: Batch, place: tuple[Index, Index]) -> Index:
        """The factor of a tile at ``place``: a number, or where the numbers are."""
        if not isinstance(self._factor, Packed):
            return self._factor
        if self._factor.form == "one":
            index = block_offset(batch, self._factor.batch)
            return tirx.BufferLoad(self._params[self._factor.index], [index])
        return self._address(self._factor, batch, place)

    def _address(self, packed: Packed, batch: Batch, place: tuple[Index, Index]) -> tirx.Expr:
        """Where what is packed for the tile at ``place`` (row, column) begins."""
        index = block_offset(batch, packed.batch)
        index = index + place[0] * packed.down + place[1] * packed.across
        return address(self._params[packed.index], index)

    def _target(self, batch: Batch, place: tuple[Index, Index]) -> tirx.Expr:
        """Where the first result of a tile goes."""
        out, tiles = self._tiling.product.out, self._tiling
        steps = tiles.rows * out.row, tiles.columns * out.column
        index = block_offset(batch, out.batch) + place[0] * steps[0] + place[1] * steps[1]
        return address(self._params[out.index], index)

    @property
    def _forms(self) -> str:
        """What helpers are told of biases, factors and results in their names."""
        product = self._tiling.product
        start = "none" if self._bias is None else self._bias.form
        by = self._factor.form if isinstance(self._factor, Packed) else "one"
        bits = product.out.dtype.removeprefix("int")
        return f"{start}_{by}_{bits}" + (f"_left{product.left}" if product.left else "")


def _flat(param: tirx.Buffer, packing: Packing | None) -> tirx.Buffer:
    """A parameter of one axis, as large and of the type that it is packed to."""
    if packing is None:
        size = math.prod(int(extent) for extent in param.shape)
        return tirx.decl_buffer((size,), str(param.dtype), param.name)
    return tirx.decl_buffer((packing.size,), packing.dtype or str(param.dtype), param.name)
