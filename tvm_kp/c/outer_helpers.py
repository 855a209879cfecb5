"""C helpers that compute tiles of products of float matrices as outer products, with MVE.

``kp_outer<rows>x<vectors>_<depth>x<columns>_<weights><packed>_<start>_<unroll>[_tail<n>]`` says how
large a tile is, how many products a sum has and how many columns the result, which operand the
weights are and in tiles of how many rows or vectors they are packed, where sums start (at none, a
vector for each row or for each sum of the tile), how many groups of steps along the sum are
written out, and how many lanes of its last vector a tile has. Packed scalars lie step by step,
``packed`` rows to each; packed vectors lie step by step too. The other operand lies row by row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tvm_kp.c.outer_assembly import LANES, OuterTile
from tvm_kp.c.pinned import pinned
from tvm_kp.c.plain_sums import plain_sums

_NAME = re.compile(
    r"kp_outer(\d)x(\d)_(\d+)x(\d+)_(scalars|vectors)(\d)_(none|row|tile)_(\d+)(?:_tail([123]))?"
)


def is_outer(name: str) -> bool:
    """Whether ``definition`` knows the helper ``name``."""
    return _NAME.fullmatch(name) is not None


def parse_outer(name: str) -> OuterTile:
    """The tile of a helper."""
    match = _NAME.fullmatch(name)
    assert match is not None, name
    rows, vectors, depth, columns = (int(size) for size in match.groups()[:4])
    packed, unroll, tail = int(match[6]), int(match[8]), int(match[9] or 0)
    return OuterTile(rows, vectors, depth, columns, match[5], packed, match[7], unroll, tail)


def definition(name: str) -> str:
    """The C of a helper."""
    return "\n".join(_Outer(name, parse_outer(name)).lines()) + "\n"


@dataclass(frozen=True)
class _Outer:
    name: str
    tile: OuterTile

    @property
    def _live(self) -> int:
        """Columns of the tile."""
        lacking = LANES - self.tile.tail if self.tile.tail else 0
        return LANES * self.tile.vectors - lacking

    def lines(self) -> Iterator[str]:
        tile = self.tile
        start = "" if tile.start == "none" else ", const float *start"
        yield f"// A tile of {tile.rows} x {self._live} sums of {tile.depth} products."
        yield "static inline __attribute__((always_inline)) void"
        scalars, vectors = ("w", "x") if tile.weights == "scalars" else ("x", "w")
        operands = f"const float *{scalars}, const float *{vectors}"
        yield f"{self.name}(float *out, {operands}{start}) {{"
        yield "#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)"
        yield from pinned(tile)
        yield "#else"
        yield from self._plain()
        yield "#endif"
        yield "}"

    def _plain(self) -> Iterator[str]:
        tile = self.tile
        operands = {
            "scalars": (f"w[k * {tile.packed} + r]", f"x[k * {tile.columns} + c]"),
            "vectors": (f"x[r * {tile.depth} + k]", f"w[k * {LANES * tile.packed} + c]"),
        }[tile.weights]
        size = tile.rows, self._live, tile.depth
        return plain_sums(size, tile.columns, tile.start, operands)
