"""C helpers that compute dot products of integers tile by tile, with MVE, and requantize them.

``kp_dots<rows>x<columns>_<blocks>x<lanes>_<bits>_<start>_<factor>_<bits>[_left<n>][_apart][_rest]``
says how large a tile is, how many products a sum has, how wide the activations are, where sums
start (at none, a number for each row or one for each sum of the tile), what they are multiplied
by (one number for all, one for each row or sum), what they become, whether rows of the result are
apart, and whether the last tile may lack rows. Weights lie tile by tile, in blocks of ``lanes``
neighbors of every row; those of a column of activations are neighbors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tvm_kp.c.column_helpers import COLUMNS
from tvm_kp.c.dot_assembly import DotTile, Requantization

_NAME = re.compile(
    r"kp_dots([48])x([12])_(\d+)x(8|16)_(8|16)_(none|row|tile)_(one|row|tile)_(8|16)"
    r"(?:_left(\d+))?(_apart)?(_rest)?"
)


def is_dots(name: str) -> bool:
    """Whether ``definition`` knows the helper ``name``."""
    return name in COLUMNS or _NAME.fullmatch(name) is not None


def needs(name: str) -> tuple[str, ...]:
    """The helpers that the helper ``name`` calls."""
    match = _NAME.fullmatch(name)
    if match is None:
        return ()
    before = (f"kp_saturate{32 - int(match[9])}",) if match[9] else ()
    return ("kp_multiply_high", f"kp_saturate{match[8]}", *before)


def definition(name: str) -> str:
    """The C of a helper."""
    match = _NAME.fullmatch(name)
    if match is None:
        return COLUMNS[name]
    rows, columns, blocks, lanes, bits = (int(size) for size in match.groups()[:5])
    tile = DotTile(rows, columns, blocks, lanes, bits, start=match[6])
    left, apart, rest = int(match[9] or 0), bool(match[10]), bool(match[11])
    requantization = Requantization(tile, match[7], int(match[8]), left, apart, rest)
    return "\n".join(_Dots(name, tile, requantization).lines()) + "\n"


@dataclass(frozen=True)
class _Dots:
    name: str
    tile: DotTile
    after: Requantization

    def lines(self) -> Iterator[str]:
        tile = self.tile
        depth = tile.blocks * tile.lanes
        yield f"// Tiles of {tile.rows} x {tile.columns} sums of {depth} products."
        yield "static inline __attribute__((always_inline)) void"
        yield f"{self.name}({', '.join(self._parameters())}) {{"
        yield from self._vectors()
        yield f"  for (; rows > 0; rows -= {tile.rows}) {{"
        yield "#if defined(__ARM_FEATURE_MVE)"
        yield from self._sums()
        yield from self._requantized()
        yield "#else"
        yield from self._plain()
        yield "#endif"
        if tile.start != "none":
            yield "    start += start_step;"
        if self.after.factor != "one":
            yield "    factor += factor_step;"
        yield f"    out += {tile.rows} * row_stride;"
        yield "  }"
        yield "}"

    def _parameters(self) -> Iterator[str]:
        yield f"int{self.after.bits}_t *out"
        yield from ("const int8_t *w", f"const int{self.tile.bits}_t *x")
        if self.tile.start != "none":
            yield from ("const int32_t *start", "int32_t start_step")
        if self.after.factor == "one":
            yield "int32_t factor"
        else:
            yield from ("const int32_t *factor", "int32_t factor_step")
        yield from ("int32_t rows", "int32_t row_stride")
        if self.tile.columns == 2:
            yield from ("int32_t x_stride", "int32_t column_stride")

    def _vectors(self) -> Iterator[str]:
        """What is the same for all tiles."""
        vectors = {}
        if self.after.factor == "one":
            vectors["by"] = "factor, factor, factor, factor"
        if self.after.apart:
            vectors["places"] = "0, row_stride, 2 * row_stride, 3 * row_stride"
        if vectors:
            yield "#if defined(__ARM_FEATURE_MVE)"
            yield "  typedef int32_t vector __attribute__((vector_size(16)));"
            yield from (f"  const vector {name} = {{{all_}}};" for name, all_ in vectors.items())
            yield "#endif"

    @property
    def _pointers(self) -> dict[str, tuple[str, int, str]]:
        """What pointers point to, the bits of it, and their registers: low ones, but for lr."""
        bits = self.tile.bits
        return {
            "w": ("w", 8, "r1"),
            "x0": ("x", bits, "r3"),
            "x1": ("x + x_stride", bits, "r5"),
            "start": ("start", 32, "lr"),
        }

    def _sums(self) -> Iterator[str]:
        tile = self.tile
        names = ["w", "x0", *(["x1"] if tile.columns == 2 else [])]
        names += ["start"] if tile.start != "none" else []
        for name in names:
            value, bits, register = self._pointers[name]
            pointed = f"const int{bits}_t *moved_{name}"
            yield f'    register {pointed} __asm__("{register}") = {value};'
        yield from (f'    register int32_t {name} __asm__("{name}");' for name in tile.sums)
        moved = ("w", *(("x0", "x1") if tile.moves else ()))
        results = [f'"=r"({name})' for name in tile.sums]
        results += [f'[{name}] "+r"(moved_{name})' for name in names if name in moved]
        inputs = [f'[{name}] "r"(moved_{name})' for name in names if name not in moved]
        changed = ", ".join(f'"{name}"' for name in (*tile.clobbered, "cc", "memory"))
        yield "    __asm__ volatile("
        yield from (f'        "{line}\\n\\t"' for line in tile.lines)
        yield from (f"        : {', '.join(operands)}" for operands in (results, inputs))
        yield f"        : {changed});"
        yield "    w = moved_w;"

    def _requantized(self) -> Iterator[str]:
        tile, after = self.tile, self.after
        second = "column_stride" if tile.columns == 2 else "4 * row_stride"
        # Only a low register may point to what neighbors are narrowed into.
        kind = "r" if after.apart else "l"
        outs = ("out", f"out + {second}")[: tile.vectors]
        inputs = [f'"r"({name})' for name in tile.sums]
        inputs += [f'[out{k}] "{kind}"({out})' for k, out in enumerate(outs)]
        inputs += ['[by] "w"(by)'] if after.factor == "one" else ['[factor] "r"(factor)']
        inputs += ['[places] "w"(places)'] if after.apart else []
        inputs += [f'[rows] "r"(rows{" - 4" if tile.rows == 8 else ""})'] if after.rest else []
        yield "    __asm__ volatile("
        yield from (f'        "{line}\\n\\t"' for line in after.lines())
        yield "        :"
        yield f"        : {', '.join(inputs)}"
        yield '        : "q0", "q1", "q2", "q3", "memory");'

    def _plain(self) -> Iterator[str]:
        tile, after = self.tile, self.after
        size, two = tile.rows * tile.lanes, tile.columns == 2
        index = {"row": "r", "tile": f"c * {tile.rows} + r" if two else "r"}
        start = "0" if tile.start == "none" else f"start[{index[tile.start]}]"
        by = "factor" if after.factor == "one" else f"factor[{index[after.factor]}]"
        total, bits = "sum", after.bits
        if after.left:
            total = f"kp_saturate{32 - after.left}(sum) * {1 << after.left}"
        weight = f"w[k / {tile.lanes} * {size} + r * {tile.lanes} + k % {tile.lanes}]"
        yield f"    for (int32_t c = 0; c < {tile.columns}; ++c) {{"
        yield f"      for (int32_t r = 0; r < {tile.rows} && r < rows; ++r) {{"
        yield f"        int32_t sum = {start};"
        yield f"        for (int32_t k = 0; k < {tile.blocks * tile.lanes}; ++k) {{"
        yield f"          sum += {weight} * x[{'c * x_stride + ' if two else ''}k];"
        yield "        }"
        place = f"r * row_stride{' + c * column_stride' if two else ''}"
        value = f"kp_saturate{bits}(kp_multiply_high({total}, {by}))"
        yield f"        out[{place}] = (int{bits}_t){value};"
        yield "      }"
        yield "    }"
        yield f"    w += {tile.blocks * size};"
