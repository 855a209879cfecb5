"""How a product of floats is cut into tiles of outer products, whatever computes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from tvm_kp.artifacts import Packing
from tvm_kp.kernel.float_product import FloatProduct
from tvm_kp.kernel.product_tiles import packing_of


@dataclass(frozen=True)
class OuterTiles(ABC):
    """Tiles of ``rows`` x ``width`` sums."""

    product: FloatProduct
    rows: int

    whole: ClassVar[bool] = False
    """Whether a call computes all tiles of a block, and of all blocks along the innermost axis."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Columns of a tile."""

    @abstractmethod
    def helper(self, rows: int, columns: int) -> str:
        """The C helper that computes a tile of these sums, which may lack some."""

    @property
    @abstractmethod
    def cost(self) -> float:
        """About how many instructions a block takes."""

    @property
    def down(self) -> int:
        """Rows of tiles."""
        return -(-self.product.rows // self.rows)

    @property
    def across(self) -> int:
        """Columns of tiles."""
        return -(-self.product.columns // self.width)

    @property
    def overlaps(self) -> bool:
        """Whether the last tile of a row overlaps the one before where it would lack columns."""
        return self.product.weights != "vectors"

    @property
    def packing(self) -> Packing | None:
        """The weights of a tile after those of the other, step by step."""
        product = self.product
        if product.constant is None:
            return None
        shape = tuple(int(size) for size in product.constant.source.shape)
        if product.weights == "scalars":
            rows = self.down, self.rows
            return packing_of(shape, (rows, (product.depth,)), "r0 k0 r1", "rk")
        columns = self.across, self.width
        return packing_of(shape, ((product.depth,), columns), "c0 k0 c1", "kc")
