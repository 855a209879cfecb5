"""How a product of floats with short sums is computed from vectors that stay in registers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tvm_kp.kernel.float_product import FloatProduct
from tvm_kp.kernel.outer_tiles import OuterTiles

STRAIGHT = 144  # instructions that usually are no loop
LANES, VECTORS, SCALARS = 4, 8, 8  # of a vector; registers
_DEEPEST = 14  # sums: of two passes


@dataclass(frozen=True)
class StationaryTiles(OuterTiles):
    """Columns of vectors and all rows; what is up to ``straight`` instructions is no loop."""

    straight: int = STRAIGHT
    whole = True
    packing = None

    def __str__(self) -> str:
        return "stationary"

    @property
    def width(self) -> int:
        return LANES

    def helper(self, rows: int, columns: int) -> str:
        product = self.product
        return f"kp_stationary_{rows}x{product.depth}x{columns}_{product.form}_{self.straight}"

    @property
    def cost(self) -> float:
        """About how many instructions a block takes."""
        product, passes = self.product, -(-self.product.depth // (VECTORS - 1))
        moves = 2 * passes - (product.form == "none")
        if passes == 1:
            group = min(SCALARS // product.depth, VECTORS - product.depth)
            loads = -(-product.rows // group)
        else:
            loads = 2 * passes * product.rows  # An addition skips the scalars of other passes.
        column = product.depth * (1 + product.rows) + moves * product.rows + loads
        return self.across * (column + passes + 1)


def stationary_tiles(product: FloatProduct) -> Iterator[StationaryTiles]:
    """The columns of a product, if few passes compute them."""
    if product.rows > 1 and product.depth <= _DEEPEST:
        yield StationaryTiles(product, product.rows)
