"""C helpers that multiply packed integers tile by tile, requantize the sums and store them.

A word of weights holds two rows at two places of the sum, ``[k0 r0, k0 r1, k1 r0, k1 r1]``, so
that SXTB16 of it and of it rotated are pairs of int16, one for each row; a word of activations is
such a pair already.
``kp_product<rows>x<columns>_<pairs>[w|s]_<trip>_<straight>_<start>_<factor>_<bits>[_left<n>]``
says how large a tile is, how many pairs a sum has, whether the weights are pairs of int16 too,
for tiles along a row (w) or down a column (s), how many tiles one trip around the loop computes, up
to how many pairs are written out, where the sums start (at none, a number for each row or one for
each sum of the tile), what they are multiplied by (one number for all, one for each row or sum),
and what they become.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tvm_kp.c.product_assembly import Tile
from tvm_kp.c.unpacking_helpers import UNPACKING

_NAME = re.compile(
    r"kp_product(\d)x(\d)_(\d+)([ws]?)_([12])_(\d+)_(none|row|tile)_(one|row|tile)_(8|16)"
    r"(?:_left(\d+))?"
)


def is_product(name: str) -> bool:
    """Whether ``definition`` knows the helper ``name``."""
    return name in UNPACKING or _NAME.fullmatch(name) is not None


def needs(name: str) -> tuple[str, ...]:
    """The helpers that the helper ``name`` calls."""
    match = _NAME.fullmatch(name)
    if match is None:
        return ()
    before = (f"kp_saturate{32 - int(match[10])}",) if match[10] else ()
    return ("kp_multiply_high", f"kp_saturate{match[9]}", *before)


def definition(name: str) -> str:
    """The C of a helper."""
    match = _NAME.fullmatch(name)
    if match is None:
        return UNPACKING[name]
    return "\n".join(_Printed(parse_product(name)).lines()) + "\n"


def parse_product(name: str) -> Product:
    """What the ``name`` of a helper that multiplies says."""
    match = _NAME.fullmatch(name)
    assert match is not None, f"{name} multiplies nothing"
    rows, columns, pairs, kind, trip, straight, start, factor, bits, left = match.groups()
    tile = Tile(
        *(int(rows), int(columns), int(pairs)),
        wide=kind != "",
        along=kind == "w",
        start=start,
        straight=int(straight),
    )
    return Product(name, tile, int(trip), factor, int(bits), int(left or 0))


@dataclass(frozen=True)
class Product:
    """A helper: its tiles, and what becomes of the sums."""

    name: str
    tile: Tile
    trip: int
    factor: str
    bits: int
    left: int

    def step(self, operand: str) -> int:
        """Elements of an operand, w or x, in a tile."""
        return 2 * self.tile.pairs * (self.tile.columns if operand == "x" else self.tile.rows)

    def index(self, form: str, k: int) -> int:
        """Which of the numbers that ``form`` says belongs to sum ``k``."""
        return k // self.tile.columns if form == "row" else k

    def advance(self, form: str) -> int:
        """How many numbers of ``form`` a tile goes on."""
        if form == "tile":
            return self.tile.rows * self.tile.columns
        return 0 if self.tile.along or form == "one" else self.tile.rows


class _Printed:
    """A helper in C."""

    def __init__(self, product: Product) -> None:
        self.name, self.tile, self.trip = product.name, product.tile, product.trip
        self.factor, self.bits, self.left = product.factor, product.bits, product.left
        self._step, self._index, self._advance = product.step, product.index, product.advance

    def lines(self) -> Iterator[str]:
        tile = self.tile
        moving = "x" if tile.along else "w"
        yield f"// Tiles of {tile.rows} x {tile.columns} sums of {2 * tile.pairs} products;"
        yield f"// the last one may lack {'columns' if tile.along else 'rows'}."
        yield "static inline __attribute__((always_inline)) void"
        yield f"{self.name}({', '.join(self._parameters())}) {{"
        end = f"{moving} + tiles * {self._step(moving)}"
        yield f"  const {self._types[moving]} *const last = {end};"
        if self.trip == 2:
            yield "  if (tiles % 2 == 1) { goto second; }"
        yield "  for (;;) {"
        for last in range(1, self.trip + 1):
            yield from self._one(moving, last == self.trip)
        yield "  }"
        yield "}"

    def _one(self, moving: str, last: bool) -> Iterator[str]:
        """A tile; it is the ``last`` of a trip around the loop, or there is another one."""
        tile = self.tile
        if last and self.trip == 2:
            yield "  second:;"
        yield "    {"
        yield from self._sums(moving)
        yield from self._stores(moving, last)
        stride = "column_stride" if tile.along else "row_stride"
        yield f"    out += {tile.columns if tile.along else tile.rows} * {stride};"
        yield "    }"

    @property
    def _types(self) -> dict[str, str]:
        return {"w": "int16_t" if self.tile.wide else "int8_t", "x": "int16_t"}

    def _parameters(self) -> Iterator[str]:
        yield f"int{self.bits}_t *out"
        yield from (f"const {type_} *{name}" for name, type_ in self._types.items())
        if self.tile.start != "none":
            yield "const int32_t *start"
        yield f"{'int32_t ' if self.factor == 'one' else 'const int32_t *'}factor"
        yield from ("int32_t tiles", "int32_t row_stride", "int32_t rows")
        if self.tile.columns > 1:
            yield from ("int32_t column_stride", "int32_t columns")

    def _sums(self, moving: str) -> Iterator[str]:
        tile = self.tile
        count = tile.rows * tile.columns
        numbers = [f"start[{self._index(tile.start, k)}]" for k in range(count)]
        start = ", ".join(["0"] * count if tile.start == "none" else numbers)
        yield "#if defined(__ARM_FEATURE_DSP)"
        yield from self._assembly(moving)
        yield "#else"
        yield f"    int32_t sums[] = {{{start}}};"
        yield f"    for (int32_t k = 0; k < {2 * tile.pairs}; ++k) {{"
        for k in range(count):
            row, column = divmod(k, tile.columns)
            yield f"      sums[{k}] += {self._weight(row)} * x[{self._pair('x', column)}];"
        yield "    }"
        yield f"    {moving} += {self._step(moving)};"
        if tile.start_moves:
            yield f"    start += {self._advance(tile.start)};"
        yield "#endif"

    def _weight(self, row: int) -> str:
        if self.tile.wide:
            return f"w[{self._pair('w', row)}]"
        return f"w[k / 2 * {2 * self.tile.rows} + k % 2 * 2 + {row // 2 * 4 + row % 2}]"

    def _pair(self, operand: str, index: int) -> str:
        count = self.tile.columns if operand == "x" else self.tile.rows
        return f"k / 2 * {2 * count} + k % 2 + {2 * index}"

    def _assembly(self, moving: str) -> Iterator[str]:
        tile = self.tile
        sums = tile.sums
        pointers = [("w", self._types["w"], "r11"), ("x", "int16_t", "r12")]
        for name, type_, register in pointers:
            yield f'    register const {type_} *moved_{name} __asm__("{register}") = {name};'
        yield from (f'    register int32_t {name} __asm__("{name}");' for name in sums)
        before, times, unroll = tile.looped
        if times:
            looped = 2 * tile.batch * tile.columns * (before + times * unroll)
            yield f"    const int16_t *const end = x + {looped};"
        results = [f'"=&r"({name})' for name in sums]
        results += [f'[{name}] "+&r"(moved_{name})' for name, _, _ in pointers]
        results += ['[start] "+m"(start)'] if tile.start_moves else []
        inputs = ['[end] "m"(end)'] if times else []
        inputs += ['[start] "m"(start)'] if tile.start == "row" and not tile.start_moves else []
        changed = ", ".join(f'"{name}"' for name in (*tile.clobbered, "cc", "memory"))
        yield "    __asm__ volatile("
        yield from (f'        "{line}\\n\\t"' for line in tile.lines)
        yield from (f"        : {', '.join(operands)}" for operands in (results, inputs))
        yield f"        : {changed});"
        yield f"    const int32_t sums[] = {{{', '.join(sums)}}};"
        yield f"    {moving} = moved_{moving};"

    def _stores(self, moving: str, last: bool) -> Iterator[str]:
        """Requantize and store; in the ``last`` tile of a trip, rows or columns may lack."""
        tile = self.tile
        # Before the first store: GCC would load a factor for every product again.
        if self.factor == "one":
            yield '    int32_t by; __asm__("" : "=r"(by) : "0"(factor));'
        else:
            count = tile.rows if self.factor == "row" else tile.rows * tile.columns
            yield f"    const int32_t by[] = {{{', '.join(f'factor[{k}]' for k in range(count))}}};"
        outer, inner = ("column", "row") if tile.along else ("row", "column")
        size = {"row": tile.rows, "column": tile.columns}
        for k in range(size[outer]):
            if k and last:
                yield f"    if ({outer}s == {k} && {moving} == last) {{ break; }}"
            for j in range(size[inner]):
                row, column = (j, k) if tile.along else (k, j)
                store = self._store(row, column)
                yield f"    if ({inner}s > {j}) {{ {store} }}" if j else f"    {store}"
        if last:
            yield f"    if ({outer}s == {size[outer]} && {moving} == last) {{ break; }}"
        if self.factor != "one":
            yield f"    factor += {self._advance(self.factor)};"

    def _store(self, row: int, column: int) -> str:
        k = row * self.tile.columns + column
        by = "by" if self.factor == "one" else f"by[{self._index(self.factor, k)}]"
        total = f"sums[{k}]"
        if self.left:
            total = f"kp_saturate{32 - self.left}({total}) * {1 << self.left}"
        place = f"{row} * row_stride" + (f" + {column} * column_stride" if column else "")
        value = f"kp_saturate{self.bits}(kp_multiply_high({total}, {by}))"
        # Without the barrier GCC puts neighbors together as bit fields of a word.
        return f'out[{place}] = (int{self.bits}_t){value}; __asm__("" : : : "memory");'
