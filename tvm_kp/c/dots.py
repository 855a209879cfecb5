"""The C of a helper that computes dot products tile by tile, with MVE, and requantizes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm_kp.c.dot_assembly import DotTile, Requantization


@dataclass(frozen=True)
class Dots:
    """The helper ``name``: sums in core registers, then what becomes of them.

    A trip around the loop computes ``trip`` tiles; if these are several, none of them lacks rows.
    """

    name: str
    tile: DotTile
    after: Requantization
    trip: int = 1

    def lines(self) -> Iterator[str]:
        tile = self.tile
        yield f"// Tiles of {tile.rows} x {tile.columns} sums of {tile.depth} products."
        yield "static inline __attribute__((always_inline)) void"
        yield f"{self.name}({', '.join(self._parameters())}) {{"
        yield from self._body()
        yield "}"

    def _body(self) -> Iterator[str]:
        yield "#if defined(__ARM_FEATURE_MVE)"
        yield from self._before()
        if self.trip == 1:
            yield from self._loop("rows > 0")
        else:
            whole = replace(self, after=replace(self.after, rest=False))
            yield f"#pragma GCC unroll {self.trip}"
            yield from whole._loop(f"rows >= {self.tile.rows}")
            if self.after.rest:
                yield from ("  if (rows > 0) {", *self._tile(), "  }")
        yield "#else"
        yield f"  for (; rows > 0; rows -= {self.tile.rows}) {{"
        yield from self._plain()
        yield from self._advance()
        yield "  }"
        yield "#endif"

    def _before(self) -> Iterator[str]:
        """What all tiles share."""
        if self._same:
            yield from self._vectors()

    def _loop(self, condition: str) -> Iterator[str]:
        yield f"  for (; {condition}; rows -= {self.tile.rows}) {{"
        yield from self._tile()
        yield from self._next()
        yield "  }"

    def _tile(self) -> Iterator[str]:
        yield from self._sums()
        yield from self._requantized()

    def _next(self) -> Iterator[str]:
        """Go on to the next tile, after the assembly of one."""
        yield from self._advance()

    def _advance(self, result: bool = True) -> Iterator[str]:
        """Go on to the next tile; that of the ``result`` may be known already."""
        if self.tile.start != "none":
            yield "    start += start_step;"
        if self.after.factor != "one":
            yield "    factor += factor_step;"
        if result:
            yield f"    out += {self.tile.rows} * row_stride;"

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
        if self.tile.gathered:
            yield "int32_t x_step"

    @property
    def _same(self) -> tuple[str, ...]:
        """Vectors that are the same for all tiles."""
        by = ("by",) if self.after.factor == "one" else ()
        return (*by, "places") if self.after.apart else by

    def _vectors(self) -> Iterator[str]:
        places = "0, row_stride, 2 * row_stride, 3 * row_stride"
        values = {"by": "factor, factor, factor, factor", "places": places}
        yield "  typedef int32_t vector __attribute__((vector_size(16)));"
        yield from (f"  const vector {name} = {{{values[name]}}};" for name in self._same)

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
        inputs += [f'[{name}] "w"({name})' for name in self._same]
        inputs += ['[factor] "r"(factor)'] if after.factor != "one" else []
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
        yield f"        for (int32_t k = 0; k < {tile.depth}; ++k) {{"
        place = ("c * x_stride + " if two else "") + ("k * x_step" if tile.gathered else "k")
        yield f"          sum += {weight} * x[{place}];"
        yield "        }"
        place = f"r * row_stride{' + c * column_stride' if two else ''}"
        value = f"kp_saturate{bits}(kp_multiply_high({total}, {by}))"
        yield f"        out[{place}] = (int{bits}_t){value};"
        yield "      }"
        yield "    }"
        yield f"    w += {tile.blocks * size};"
