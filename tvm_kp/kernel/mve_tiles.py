"""How a product of floats is cut into tiles of outer products, for a core with MVE."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm_kp.kernel.float_product import FloatProduct
from tvm_kp.kernel.outer_tiles import OuterTiles
from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.stationary_tiles import StationaryTiles, stationary_tiles

LANES, SUMS = 4, 7  # of a vector; vectors of sums, beside which one is left
SCALARS = 8  # registers
_OFFERED = 6  # tiles
_FARTHEST = 1020  # bytes that two scalars may be away from their pointer
_TILE = 16  # instructions around the sums of a tile, at least
_STRAIGHT = 32  # multiplications of vectors that are written out, usually
_UNROLLS = (1, 2, 4, 8)


@dataclass(frozen=True)
class MveTiles(OuterTiles):
    """Tiles of ``rows`` x ``vectors``; up to ``unroll`` groups of steps are written out."""

    vectors: int
    unroll: int = 1

    def __str__(self) -> str:
        return f"{self.rows}x{self.vectors}"

    @property
    def width(self) -> int:
        return LANES * self.vectors

    def helper(self, rows: int, columns: int) -> str:
        product = self.product
        packed = self.rows if product.weights == "scalars" else self.vectors
        tail = f"_tail{columns % LANES}" if columns % LANES else ""
        size = f"{rows}x{-(-columns // LANES)}_{product.depth}x{product.columns}"
        return f"kp_outer{size}_{product.weights}{packed}_{product.form}_{self.unroll}{tail}"

    @property
    def group(self) -> int:
        """Steps whose scalars are loaded together."""
        if self.product.weights == "scalars":
            return SCALARS // self.rows
        return 4 if self.rows == 1 else 2

    @property
    def cost(self) -> float:
        """About how many instructions a block takes; zeros that are packed count as some too."""
        product, packed = self.product, self.product.weights == "vectors"
        vectors = -(-product.columns // LANES) if packed else self.across * self.vectors
        scalars = (product.rows if packed else self.down) * self.across / self.group
        step = vectors * (self.down + product.rows) + scalars
        sums = vectors * product.rows
        return product.depth * step + 2 * sums + _TILE * self.down * self.across + self._padding / 4

    @property
    def _padding(self) -> int:
        """Zeros that are packed."""
        packing = self.packing
        return 0 if packing is None else packing.size - math.prod(packing.shape)

    def chosen(self, choose: Choose) -> MveTiles:
        """With what else there is to choose."""
        multiplications = self.rows * self.vectors * self.group
        groups = self.product.depth // self.group
        unrolls = tuple(n for n in _UNROLLS if n == 1 or n <= groups)
        # Sums that start at none need zeros in front of a loop, which cost as much as a trip.
        none = self.product.form == "none"
        whole = none and groups * multiplications <= 2 * _STRAIGHT
        usual = [n for n in unrolls if whole or n * multiplications <= _STRAIGHT]
        return replace(self, unroll=choose("unroll", unrolls, max(usual, default=1)))


def mve_tiles_of(product: FloatProduct, choose: Choose) -> MveTiles | StationaryTiles:
    """The tiles that are chosen for a product."""
    fitting: list[MveTiles | StationaryTiles] = [*_fitting(product), *stationary_tiles(product)]
    best = sorted(fitting, key=lambda tiles: tiles.cost)[:_OFFERED]
    offered = {str(tiles): tiles for tiles in best}
    return offered[choose("tile", tuple(offered), str(best[0]))].chosen(choose)


def _fitting(product: FloatProduct) -> Iterator[MveTiles]:
    scalars = product.weights == "scalars"
    for rows in range(1, min(product.rows, SUMS) + 1):
        if not scalars and (rows > 4 or (rows - 1) * 4 * product.depth > _FARTHEST - 4):
            continue
        for vectors in range(1, SUMS // rows + 1):
            # Vectors of what is not packed end where its row does: they overlap, or lack lanes.
            whole = max(1, product.columns // LANES)
            if vectors <= (whole if scalars else -(-product.columns // LANES)):
                yield MveTiles(product, rows, vectors)
