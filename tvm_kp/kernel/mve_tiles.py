"""How a product of floats is cut into tiles of outer products, for a core with MVE."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm_kp.kernel.float_product import FloatProduct
from tvm_kp.kernel.outer_tiles import OuterTiles
from tvm_kp.kernel.space import Choose
from tvm_kp.kernel.stationary_tiles import STRAIGHT, StationaryTiles, stationary_tiles

LANES, SUMS = 4, 7  # of a vector; vectors of sums, beside which one is left
SCALARS = 8  # registers
_OFFERED = 6  # tiles
_FARTHEST = 1012  # bytes that scalars may be away from their pointer
_STRAIGHTS = (72, 104, 144, 256, 512)  # instructions


@dataclass(frozen=True)
class MveTiles(OuterTiles):
    """Tiles of ``rows`` x ``vectors``; what is up to ``straight`` instructions is no loop."""

    vectors: int
    straight: int = STRAIGHT
    whole = True

    def __str__(self) -> str:
        return f"{self.rows}x{self.vectors}"

    @property
    def width(self) -> int:
        return LANES * self.vectors

    def helper(self, rows: int, columns: int) -> str:
        product = self.product
        size = f"{rows}x{product.depth}x{columns}_{product.form}_{self.straight}"
        return f"kp_outer{self}_{product.weights}_{size}"

    @property
    def cost(self) -> float:
        """About how many instructions a block takes; zeros that are packed count as some too."""
        product, packing = self.product, self.packing
        packs = product.weights == "vectors"
        rest = -(-(product.columns % self.width) // LANES) if packs else 0
        down = [(self.rows, product.rows // self.rows), (product.rows % self.rows, 1)]
        across = [(self.vectors, self.across - 1), (rest or self.vectors, 1)]
        tiles = sum(
            m * n * self._tile(rows, wide) for rows, m in down if rows for wide, n in across
        )
        if packing is None:
            return tiles
        zeros = packing.size - math.prod(packing.shape)
        return tiles + zeros / math.prod(packing.shape[:-2]) / 4

    def _tile(self, rows: int, vectors: int) -> float:
        """About how many instructions a tile of this size takes."""
        product, step = self.product, vectors * (rows + 1) + 1
        moves = rows * vectors * (1 if product.form == "none" else 2)
        looped = product.depth * step > self.straight
        trips = product.depth // max(1, self.straight // (2 * step)) if looped else 0
        around = 5 + trips if looped else 1
        return product.depth * (step - 1) + self._loads(rows) + moves + around

    def _loads(self, rows: int) -> float:
        """Loads of the scalars of a tile."""
        depth = self.product.depth
        if self.product.weights == "scalars":
            together = SCALARS if self.vectors == 1 else SCALARS - SCALARS % self.rows
            return -(-depth * self.rows // together)
        together = SCALARS // rows
        first = SCALARS - (rows - 1) * together
        return -(-depth // first) + -(-depth // together) * (rows - 1) * -(-together // 2)


def mve_tiles_of(product: FloatProduct, choose: Choose) -> MveTiles | StationaryTiles:
    """The tiles that are chosen for a product."""
    fitting: list[MveTiles | StationaryTiles] = [*_fitting(product), *stationary_tiles(product)]
    best = sorted(fitting, key=lambda tiles: tiles.cost)[:_OFFERED]
    offered = {str(tiles): tiles for tiles in best}
    tiles = offered[choose("tile", tuple(offered), str(best[0]))]
    return replace(tiles, straight=choose("straight", _STRAIGHTS, tiles.straight))


def _fitting(product: FloatProduct) -> Iterator[MveTiles]:
    scalars = product.weights == "scalars"
    for rows in range(1, min(product.rows, SUMS) + 1):
        if not scalars and (rows > 4 or (rows - 1) * 4 * product.depth > _FARTHEST):
            continue
        for vectors in range(1, SUMS // rows + 1):
            # Vectors of what is not packed end where its row does: they overlap, or lack lanes.
            whole = max(1, product.columns // LANES)
            if vectors <= (whole if scalars else -(-product.columns // LANES)):
                yield MveTiles(product, rows, vectors)
