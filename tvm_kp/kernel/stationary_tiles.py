"""How a product of floats with short sums is cut into panels whose vectors stay in registers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm_kp.kernel.float_product import FloatProduct
from tvm_kp.kernel.outer_tiles import OuterTiles
from tvm_kp.kernel.space import Choose

LANES, VECTORS, SCALARS = 4, 8, 8  # of a vector; registers
_WIDEST = 4  # vectors of a panel, as its columns are written out
_DEEPEST = 14  # sums: of two passes, which are written out too
_PANEL = 8  # instructions around a panel
_STRAIGHT = 64  # multiplications of vectors that are written out, usually
_UNROLLS = (1, 2, 4, 8)


@dataclass(frozen=True)
class StationaryTiles(OuterTiles):
    """Panels of all rows and ``vectors``; up to ``unroll`` groups of rows are written out."""

    vectors: int
    unroll: int = 1
    packing = None
    overlaps = False

    def __str__(self) -> str:
        return f"stationary{self.vectors}"

    @property
    def width(self) -> int:
        return LANES * self.vectors

    def helper(self, rows: int, columns: int) -> str:
        product = self.product
        size = f"{rows}x{columns}_{product.depth}x{product.columns}"
        return f"kp_stationary{size}_{product.form}_{self.unroll}"

    @property
    def passes(self) -> int:
        """Through the rows of a column: one vector is left to sums at least."""
        return -(-self.product.depth // (VECTORS - 1))

    @property
    def group(self) -> int:
        """Rows whose scalars are loaded together."""
        depth = self.product.depth
        return 1 if self.passes > 1 else min(SCALARS // depth, VECTORS - depth, self.rows)

    @property
    def cost(self) -> float:
        """About how many instructions a block takes."""
        product, passes = self.product, self.passes
        groups = -(-product.rows // self.group)
        moves = 2 * passes - (product.form == "none")
        scalars = passes * (groups if passes == 1 else 2 * groups)
        column = product.depth * (1 + product.rows) + moves * product.rows + scalars
        vectors = -(-product.columns // LANES)
        return vectors * (column + passes * (4 + groups / 4)) + passes * _PANEL * self.across

    def chosen(self, choose: Choose) -> StationaryTiles:
        """With what else there is to choose."""
        groups = self.rows // self.group
        unrolls = tuple(n for n in _UNROLLS if n == 1 or n <= groups)
        group = self.group * self.vectors * self.product.depth // self.passes
        usual = [n for n in unrolls if n * group <= _STRAIGHT]
        return replace(self, unroll=choose("unroll", unrolls, max(usual, default=1)))


def stationary_tiles(product: FloatProduct) -> Iterator[StationaryTiles]:
    """All panels that a product can be cut into: none lacks lanes."""
    columns, rows = product.columns, product.rows
    if rows == 1 or columns < LANES or product.depth > _DEEPEST:
        return
    for vectors in range(1, min(_WIDEST, -(-columns // LANES)) + 1):
        rest = columns % (LANES * vectors)
        if rest == 0 or rest >= LANES:
            yield StationaryTiles(product, rows, vectors)
