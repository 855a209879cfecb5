"""The assembly of what becomes of a tile of sums of integers, four at a time, with MVE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tvm_kp.c.dot_panel import DotPanel
from tvm_kp.c.instructions import Instructions, Places
from tvm_kp.c.predicate import Predicate
from tvm_kp.c.thumb import number

REACH = {8: range(-127, 128), 16: range(-254, 255, 2)}  # by the bits of what is accessed
_FOUR, _ONE = range(-508, 509, 4), range(-255, 256)  # bytes that loads reach: of numbers, of one
_ROWS, _WEIGHTS = "q4", "q2"  # where weights of rows are, and weights
_PLACES, _FACTORS = ("q5", "q6"), "q7"  # the last of places where there are some for one vector


def multiples(vector: str, bits: int, step: int) -> Iterator[str]:
    """Fill a vector with 0, ``step``, 2 * ``step``...; r0 and r2 hold nothing."""
    is_step = step in (1, 2, 4, 8)
    yield from ("movs r0, #0", f"vidup.u{bits} {vector}, r0, #{step if is_step else 1}")
    if not is_step:
        yield from (*number("r2", step), f"vmul.i{bits} {vector}, {vector}, r2")


@dataclass(frozen=True)
class _Four:
    """Neighboring sums of a tile, from ``row`` of ``column`` on, in ``vector``; not all may be
    ``live``."""

    vector: str
    sums: tuple[str, ...]
    row: int
    column: int
    live: tuple[bool, ...]

    @property
    def lacks(self) -> bool:
        return not all(self.live)


class Requantization:
    """Writes to ``code``; ``sums`` are the registers of a tile, those of a column first, and
    ``free`` vectors for them."""

    def __init__(
        self,
        panel: DotPanel,
        code: Instructions,
        predicate: Predicate,
        sums: tuple[str, ...],
        free: tuple[str, str],
    ) -> None:
        self._panel, self._code = panel, code
        self._predicate, self._sums, self._free = predicate, sums, free

    def set_up(self) -> None:
        """What all tiles share."""
        panel = self._panel
        if panel.height == 2:
            self._code.lines.extend(self._square())
        elif panel.out_row > 1:
            self._code.lines.extend(multiples(_PLACES[1], 32, panel.out_row))
        if panel.scalars:
            self._code.lines.extend(multiples(_ROWS, 32, panel.lanes))
        if panel.factor == "number":
            self._code.lines.append(f"vdup.32 {_FACTORS}, %[factor]")

    def _square(self) -> Iterator[str]:
        """Places of two rows of two columns, and of those of the next two columns."""
        row, column, (first, second) = self._panel.out_row, self._panel.out_column, _PLACES
        places = {"r0": 0, "r2": row, "r4": column, "r6": row + column, "r8": 2 * column}
        yield from (line for register, place in places.items() for line in number(register, place))
        yield from (f"vmov {first}[2], {first}[0], r0, r4", f"vmov {first}[3], {first}[1], r2, r6")
        yield f"vadd.i32 {second}, {first}, r8"

    def set_up_block(self, at: Places) -> None:
        """What the tiles of a block share."""
        if self._panel.factor == "one":
            self._code.access("ldr r0", "factor", at["factor"], _ONE)
            self._code.lines.append(f"vdup.32 {_FACTORS}, r0")

    def write(self, rows: int, columns: int, at: Places) -> None:
        """A tile of ``rows`` and ``columns`` whose operands are ``at`` some places."""
        fours = list(self._fours(rows, columns))
        # Side by side, since an instruction waits for the one before; with a vector for each.
        together = self._free[0] != self._free[1]
        for some in [fours] if together else [[four] for four in fours]:
            self._write(some, at)

    def _write(self, fours: list[_Four], at: Places) -> None:
        for four in fours:
            self._collect(four)
        if self._panel.scalars:
            self._add_scalars(fours, at)
        self._scale(fours, at["factor"])
        for four in fours:
            self._code.lines.append(f"vqmovnb.s32 {four.vector}, {four.vector}")
            if self._panel.out_bits == 8:
                self._code.lines.append(f"vqmovnb.s16 {four.vector}, {four.vector}")
        self._store(fours, at["out"])

    def _fours(self, rows: int, columns: int) -> Iterator[_Four]:
        height = self._panel.height
        for first, vector in zip(range(0, len(self._sums), 4), self._free, strict=False):
            places = [divmod(k, height) for k in range(first, first + 4)]
            live = tuple(row < rows and column < columns for column, row in places)
            if any(live):
                column, row = places[0]
                yield _Four(vector, self._sums[first : first + 4], row, column, live)

    def _collect(self, four: _Four) -> None:
        vector, (a, b, c, d) = four.vector, four.sums
        self._code.lines.append(f"vmov {vector}[2], {vector}[0], {a}, {c}")
        if four.live[1] or four.live[3]:
            self._code.lines.append(f"vmov {vector}[3], {vector}[1], {b}, {d}")

    def _add_scalars(self, fours: list[_Four], at: Places) -> None:
        """Add the last products of every sum one by one, to four sums at a time."""
        panel, code = self._panel, self._code
        load = f"ldrs{'b' if panel.bits == 8 else 'h'} r0"
        begin = at["w"] + panel.weights[1] * panel.dots
        for k in range(panel.scalars):
            for row in sorted({four.row for four in fours}):
                place = begin + row * panel.lanes + k
                code.apart(f"vldrb.s32 {_WEIGHTS}", "w", place, _ROWS, bits=8)
                for four in (one for one in fours if one.row == row):
                    number = four.column * panel.x_column + panel.dots * panel.lanes + k
                    code.access(load, "x", at["x"] + number * panel.bits // 8, _ONE)
                    code.lines.append(f"vmla.s32 {four.vector}, {_WEIGHTS}, r0")

    def _scale(self, fours: list[_Four], factor: int) -> None:
        panel, code, form = self._panel, self._code, self._panel.factor
        for four in fours:
            if panel.left:
                # It saturates to other numbers than ``requantize`` does, but what becomes of
                # either is out of the range of the result.
                code.lines.append(f"vqshl.s32 {four.vector}, {four.vector}, #{panel.left}")
            if form == "tile" or (form == "row" and four.column == 0):
                place = factor + 4 * (four.column * panel.height + four.row)
                code.access(f"vldrw.u32 {_FACTORS}", "factor", place, _FOUR)
            code.lines.append(f"vrmulh.s32 {four.vector}, {four.vector}, {_FACTORS}")

    def _store(self, fours: list[_Four], out: int) -> None:
        panel, code, nbytes = self._panel, self._code, self._panel.out_bits // 8
        for four in fours:
            if four.lacks:
                self._predicate.words(four.live)
            verb = f"vstr{'b' if nbytes == 1 else 'h'}{'t' if four.lacks else ''}.32"
            place = out + nbytes * (four.row * panel.out_row + four.column * panel.out_column)
            if not panel.scattered:
                code.access(f"{verb} {four.vector}", "out", place, REACH[8 * nbytes])
                continue
            offsets = _PLACES[1]
            if panel.height == 2:
                offsets, place = _PLACES[four.column // 2], out
            code.apart(f"{verb} {four.vector}", "out", place, offsets, panel.out_bits)
