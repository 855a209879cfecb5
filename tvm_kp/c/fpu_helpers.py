"""C helpers that compute tiles of products of float matrices as outer products, with an FPU.

``kp_sums<rows>x<columns>_<depth>x<stride>_<weights><packed>_<start>_<scalars>_<vectors>_<unroll>``
says how large a tile is, how many products a sum has and how many columns the result, which operand
the weights are, if one is, and how many of them are packed to a step, where sums start (at none, a
vector for each row or for each sum of the tile), the steps whose scalars (of ``a``), and whose
vectors (of ``b``), are loaded together, and how many times the larger are written out. Packed
weights lie step by step, what is not packed row by row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tvm_kp.c.fpu_assembly import FpuTile
from tvm_kp.c.plain_sums import plain_sums

_NAME = re.compile(
    r"kp_sums(\d+)x(\d+)_(\d+)x(\d+)_(scalars|vectors|none)(\d+)_(none|row|tile)_(\d+)_(\d+)_(\d+)"
)


def is_sums(name: str) -> bool:
    """Whether ``definition`` knows the helper ``name``."""
    return _NAME.fullmatch(name) is not None


def parse_sums(name: str) -> FpuTile:
    """The tile of a helper."""
    match = _NAME.fullmatch(name)
    assert match is not None, name
    rows, columns, depth, stride = map(int, match.groups()[:4])
    packed, steps = int(match[6]), map(int, match.groups()[7:])
    return FpuTile(rows, columns, depth, stride, match[5], packed, match[7], *steps)


def definition(name: str) -> str:
    """The C of a helper."""
    return "\n".join(_Sums(name, parse_sums(name)).lines()) + "\n"


@dataclass(frozen=True)
class _Sums:
    name: str
    tile: FpuTile

    def lines(self) -> Iterator[str]:
        tile = self.tile
        start = "" if tile.start == "none" else ", const float *start"
        yield f"// A tile of {tile.rows} x {tile.columns} sums of {tile.depth} products."
        yield "static inline __attribute__((always_inline)) void"
        yield f"{self.name}(float *out, const float *a, const float *b{start}) {{"
        yield "#if defined(__thumb2__) && defined(__ARM_FEATURE_FMA) && defined(__ARM_FP)"
        yield from self._assembly()
        yield "#else"
        yield from self._plain()
        yield "#endif"
        yield "}"

    def _assembly(self) -> Iterator[str]:
        tile = self.tile
        for row, pointer in enumerate(tile.scalars[1:], 1):
            yield f"  const float *{pointer} = a + {row * tile.depth};"
        if tile.looped[1]:
            yield f"  uint32_t times = {tile.looped[1]};"
        changed = ", ".join(f'[{name}] "+r"({name})' for name in tile.changed)
        kept = [f'[{name}] "r"({name})' for name in tile.kept]
        kept += ['[zero] "r"(0.0f)'] if tile.starts_at_zero else []
        registers = (f"s{k}" for k in range(tile.registers))
        clobbered = ", ".join(f'"{name}"' for name in (*registers, "cc", "memory"))
        yield "  __asm__ volatile("
        yield from (f'      "{line}\\n\\t"' for line in tile.lines)
        yield f"      : {changed}"
        yield f"      : {', '.join(kept)}".rstrip()
        yield f"      : {clobbered});"

    def _plain(self) -> Iterator[str]:
        tile = self.tile
        scalars, vectors = f"r * {tile.depth} + k", f"k * {tile.stride} + c"
        if tile.weights == "scalars":
            scalars = f"k * {tile.packed} + r"
        elif tile.weights == "vectors":
            vectors = f"k * {tile.packed} + c"
        size = tile.rows, tile.columns, tile.depth
        return plain_sums(size, tile.stride, tile.start, (f"a[{scalars}]", f"b[{vectors}]"))
