"""How a product of floats is cut into tiles of outer products, for a core with a scalar FPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm_kp.kernel.float_product import FloatProduct
from tvm_kp.kernel.outer_tiles import OuterTiles
from tvm_kp.kernel.space import Choose

REGISTERS = 32
_OFFERED, _LOADS = 6, 4  # tiles, and ways to load their operands
_MOST_ROWS = 3  # that are not packed: of more pointers GCC would spill some, which it cannot at -O0
_TILE = 8  # instructions around a tile
_LATENCY = 3  # cycles until a sum can be added to again
_UNROLLS = (1, 2, 4, 8)
_DOUBLE = 2048  # words of code that are as bad as twice the instructions


@dataclass(frozen=True)
class FpuTiles(OuterTiles):
    """Tiles of ``rows`` x ``columns``.

    A load reads scalars of ``scalar_steps`` along the sum, another one vectors of ``vector_steps``;
    one of the two is a multiple of the other. Up to ``unroll`` times the larger are written out.
    """

    columns: int
    scalar_steps: int = 1
    vector_steps: int = 1
    unroll: int = 1

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

    @property
    def width(self) -> int:
        return self.columns

    @property
    def loads(self) -> str:
        return f"{self.scalar_steps}+{self.vector_steps}"

    @property
    def registers(self) -> int:
        """How many a tile takes."""
        operands = self.rows * self.scalar_steps + self.columns * self.vector_steps
        return self.rows * self.columns + operands

    def helper(self, rows: int, columns: int) -> str:
        product = self.product
        packed = {"scalars": self.rows, "vectors": self.columns}.get(product.weights, 0)
        size = f"{rows}x{columns}_{product.depth}x{product.columns}"
        steps = f"{self.scalar_steps}_{self.vector_steps}_{self.unroll}"
        return f"kp_sums{size}_{product.weights}{packed}_{product.form}_{steps}"

    @property
    def cost(self) -> float:
        """About how many instructions a block takes, where flash has a price too."""
        executed, code = 0, 0
        before, times, body = self._looped
        for (rows, columns), count in self._sizes().items():
            once = self._around(rows, columns) + self._steps(before, rows, columns)
            around = self._steps(body, rows, columns) + 2
            executed += count * (once + times * around)
            code += once + (around if times else 0)
        return executed * (1 + code / _DOUBLE) * self._padded

    @property
    def _padded(self) -> float:
        """How much larger packed weights are than weights, for the zeros beside them."""
        product = self.product
        if product.weights == "scalars":
            return self.down * self.rows / product.rows
        return self.across * self.width / product.columns if product.weights == "vectors" else 1

    @property
    def _looped(self) -> tuple[int, int, int]:
        """Steps in front of the loop, times around it, and steps in it."""
        body = max(self.scalar_steps, self.vector_steps) * self.unroll
        times = self.product.depth // body
        return (self.product.depth % body, times, body) if times > 1 else (self.product.depth, 0, 0)

    def _sizes(self) -> Counter[tuple[int, int]]:
        """How many tiles there are of each size."""
        product, sizes = self.product, Counter[tuple[int, int]]()
        down, columns = divmod(product.rows, self.rows), divmod(product.columns, self.columns)
        across = [(self.columns, columns[0]), (columns[1], 1)]
        if product.weights != "vectors":
            across = [(self.columns, self.across)]  # The last one overlaps.
        for width, wide in across:
            for rows, high in ((self.rows, down[0]), (down[1], 1)):
                if rows and width:
                    sizes[rows, width] += high * wide
        return sizes

    def _around(self, rows: int, columns: int) -> int:
        """Instructions that are no steps: sums are loaded, and stored; pointers are made."""
        product = self.product
        moves = 1 if columns == product.columns else 2 * rows - 1
        none = 0 if self._looped[0] else rows * columns
        start = {"none": none, "row": 1 + (rows - 1) * columns, "tile": moves}[product.form]
        pointers = 0 if product.weights == "scalars" else rows - 1
        return _TILE + start + moves + pointers

    def _steps(self, count: int, rows: int, columns: int) -> int:
        """Instructions for ``count`` steps."""
        weights = self.product.weights
        scalars, vectors = -(-count // self.scalar_steps), -(-count // self.vector_steps)
        scalars *= 1 if weights == "scalars" else rows
        vectors *= 1 if self._adjoins else 2  # A pointer goes on to the next row.
        return count * max(rows * columns, _LATENCY) + scalars + vectors

    @property
    def _adjoins(self) -> bool:
        """Whether vectors of one step after the other are neighbors in memory."""
        return self.product.weights == "vectors" or self.columns == self.product.columns


def fpu_tiles_of(product: FloatProduct, choose: Choose) -> FpuTiles:
    """The tiles that are chosen for a product."""
    ranked = sorted(_fitting(product), key=lambda tiles: tiles.cost)
    sizes = tuple(dict.fromkeys(map(str, ranked)))[:_OFFERED]
    size = choose("tile", sizes, sizes[0])
    ranked = [tiles for tiles in ranked if str(tiles) == size]
    ways = tuple(dict.fromkeys(tiles.loads for tiles in ranked))[:_LOADS]
    loads = choose("loads", ways, ways[0])
    ranked = [tiles for tiles in ranked if tiles.loads == loads]
    unrolls = tuple(sorted(tiles.unroll for tiles in ranked))
    return replace(ranked[0], unroll=choose("unroll", unrolls, ranked[0].unroll))


def _fitting(product: FloatProduct) -> Iterator[FpuTiles]:
    """All tiles whose sums and operands fit the registers."""
    most = REGISTERS if product.weights == "scalars" else _MOST_ROWS
    for rows in range(1, min(product.rows, most) + 1):
        for columns in range(1, min(product.columns, REGISTERS // rows) + 1):
            for tiles in _with_loads(FpuTiles(product, rows, columns)):
                steps = max(tiles.scalar_steps, tiles.vector_steps)
                unrolls = (n for n in _UNROLLS if n == 1 or n * steps <= product.depth)
                yield from (replace(tiles, unroll=n) for n in unrolls)


def _with_loads(tiles: FpuTiles) -> Iterator[FpuTiles]:
    """Tiles of one size with all loads that fit."""
    most = min(tiles.product.depth, REGISTERS)
    for scalars in range(1, most + 1):
        for vectors in range(1, most + 1 if tiles._adjoins else 2):
            found = replace(tiles, scalar_steps=scalars, vector_steps=vectors)
            if found.registers > REGISTERS:
                break
            if max(scalars, vectors) % min(scalars, vectors) == 0:
                yield found
