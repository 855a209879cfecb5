"""The assembly of sums of few products of floats whose vectors stay in registers, with MVE.

A column of four sums a row keeps its vectors, one for each step along the sum, in q0 and up, while
rows of scalars go by: a load-multiple, a VFMA a step, and a store. Columns are written out; the
last one overlaps the one before where it would lack lanes. Longer sums take several passes, each
of which starts at what the one before has stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from tvm_kp.c.outer_assembly import LANES, SCALARS, VECTORS
from tvm_kp.c.thumb import advanced, load, number, reached


@dataclass(frozen=True)
class Panel:
    """``rows`` x ``live`` sums of ``depth`` products, in a result of ``columns``; four live columns
    at least.

    The sums start at 0, at a vector for each ``row`` or for each sum of the ``tile``, as ``start``
    says. Up to ``unroll`` groups of rows are written out.
    """

    rows: int
    live: int
    depth: int
    columns: int
    start: str
    unroll: int

    @property
    def passes(self) -> list[tuple[int, int]]:
        """Where along the sum each begins and ends: one register is left to sums at least."""
        count = -(-self.depth // (VECTORS - 1))
        return list(pairwise(self.depth * k // count for k in range(count + 1)))

    @property
    def group(self) -> int:
        """Rows whose scalars are loaded together."""
        if self.depth >= VECTORS:
            return 1
        return min(len(SCALARS) // self.depth, VECTORS - self.depth, self.rows)

    @property
    def times(self) -> int:
        """Around the loop over rows; those that are left come behind it."""
        times = self.rows // (self.group * self.unroll)
        return times if times > 1 else 0

    @property
    def pointers(self) -> dict[str, str]:
        """The registers of the operands."""
        named = {"out": "r11", "vectors": "r9", "scalars": "r10", "start": "r12"}
        return {n: r for n, r in named.items() if n != "start" or self.start != "none"}

    @property
    def clobbered(self) -> tuple[str, ...]:
        """All registers that are no operands."""
        steps = max(end - first for first, end in self.passes)
        vectors = (f"q{k}" for k in range(steps + self.group))
        return (*SCALARS[: self.group * steps], *vectors, *(("lr",) if self.times else ()))

    @cached_property
    def lines(self) -> list[str]:
        """The instructions; the pointers are operands."""
        last = self.live - LANES
        columns = [*range(0, last, LANES), last]
        steps = [4 * (after - column) for column, after in pairwise(columns)]
        passes = [_Pass(self, *ends, step) for step in (*steps, 0) for ends in self.passes]
        return [line for one in passes for line in one.lines()]


@dataclass(frozen=True)
class _Pass:
    """The steps from ``first`` to ``end`` of a column of sums. The next column is ``step`` bytes
    away; 0 if there is none."""

    panel: Panel
    first: int
    end: int
    step: int

    @property
    def _steps(self) -> int:
        return self.end - self.first

    @property
    def _row(self) -> int:
        """Bytes of a row of vectors, and of sums."""
        return 4 * self.panel.columns

    @property
    def _last(self) -> bool:
        return self.end == self.panel.depth

    def lines(self) -> Iterator[str]:
        panel = self.panel
        yield from self._load_vectors()
        looped = panel.times * panel.unroll * panel.group
        if looped:
            yield from (*number("lr", panel.times), "dls lr, lr", "1:")
            yield from self._rows(panel.unroll * panel.group, False)
            yield "le lr, 1b"
        yield from self._rows(panel.rows - looped, True)
        if looped == panel.rows:
            for pointer in ("out", "start") if self._reads_start else ("out",):
                onward = self._onward(pointer, True)
                yield from advanced(pointer, onward and onward - self._onward(pointer, False))
        if self.step or not self._last:
            beginning = 0 if self._last else self.end
            yield from advanced("scalars", 4 * (beginning - self.first - panel.rows * panel.depth))

    def _load_vectors(self) -> Iterator[str]:
        for k in range(self.first, self.end):
            back = self.step and self.step - k * self._row
            onward = back if k == self.panel.depth - 1 else self._row
            yield from reached(f"vldrw.u32 q{k - self.first}", "vectors", 0, onward)

    @property
    def _reads_start(self) -> bool:
        return self.first == 0 and self.panel.start != "none"

    def _onward(self, pointer: str, last: bool) -> int:
        """Bytes that a pointer to sums goes on behind a row, which may be the last one."""
        row = 0 if pointer == "start" and self.panel.start == "row" else self._row
        if not last:
            return row
        back = (self.panel.rows - 1) * row
        if pointer == "out" and not self._last:
            return -back
        return self.step and self.step - back

    def _rows(self, count: int, last: bool) -> Iterator[str]:
        """``count`` rows, which may be the ``last`` ones."""
        for first in range(0, count, self.panel.group):
            rows = min(self.panel.group, count - first)
            yield from self._group(rows, last and first + rows == count)

    def _group(self, rows: int, last: bool) -> Iterator[str]:
        """Rows side by side, since a sum waits for itself."""
        scalars = SCALARS[: rows * self._steps]
        yield load("scalars", scalars, 4 * len(scalars))
        yield from advanced("scalars", 4 * (self.panel.depth - self._steps))
        sums = [f"q{self._steps + row}" for row in range(rows)]
        if self._reads_start:
            yield from self._moves("vldrw.u32", "start", sums, last)
        elif self.first:
            yield from reached(f"vldrw.u32 {sums[0]}", "out", 0)
        fresh = not self.first and not self._reads_start
        for k in range(self._steps):
            verb = "vmul.f32" if fresh and k == 0 else "vfma.f32"
            for row, name in enumerate(sums):
                yield f"{verb} {name}, q{k}, {scalars[row * self._steps + k]}"
        yield from self._moves("vstrw.32", "out", sums, last)

    def _moves(self, verb: str, pointer: str, sums: list[str], last: bool) -> Iterator[str]:
        """Load or store sums."""
        for name in sums:
            onward = self._onward(pointer, last and name == sums[-1])
            yield from reached(f"{verb} {name}", pointer, 0, onward)
