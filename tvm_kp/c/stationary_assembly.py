"""The assembly of sums of few products of floats whose vectors stay in registers, with MVE.

A column of four sums a row keeps its vectors, one for each step along the sum, in q0 and up, while
rows of scalars go by: a load-multiple, a VFMA a step, and a store. The last column overlaps the one
before where it would lack lanes, if there is one. Longer sums take several passes, each of which
starts at what the one before has stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

from tvm_kp.c.float_blocks import VECTORS, Blocks
from tvm_kp.c.instructions import LANES, Instructions, Places, shifted
from tvm_kp.c.parts import runs, split
from tvm_kp.c.scalars import SCALARS


@dataclass(frozen=True)
class Columns:
    """Columns of all rows."""

    blocks: Blocks

    @cached_property
    def lines(self) -> list[str]:
        """The instructions."""
        return self.blocks.lines(self._block)

    @property
    def passes(self) -> Iterator[tuple[int, int]]:
        """Where along the sum each begins and ends: one register is left to sums at least."""
        depth = self.blocks.depth
        count = -(-depth // (VECTORS - 1))
        return pairwise(depth * k // count for k in range(count + 1))

    def _block(self, code: Instructions, at: Places) -> None:
        def place(column: int) -> dict[str, int]:
            return {"scalars": 0, "vectors": 4 * column, **self.blocks.sums(0, column)}

        def write(lanes: int, there: Places) -> None:
            for ends in self.passes:
                _Pass(self.blocks, code, lanes, *ends).write(there)

        for run in runs(self.blocks.columns, LANES, overlaps=True):
            first = shifted(at, place(run.first))
            code.repeat(
                run.times, first, place(run.step), self.blocks.straight, partial(write, run.size)
            )


@dataclass(frozen=True)
class _Pass:
    """The steps from ``first`` to ``end`` of a column of ``lanes`` of sums, in ``code``."""

    blocks: Blocks
    code: Instructions
    lanes: int
    first: int
    end: int

    @property
    def _steps(self) -> int:
        return self.end - self.first

    @property
    def _group(self) -> int:
        """Rows side by side, since a sum waits for itself, whose scalars are loaded together."""
        if self._steps < self.blocks.depth:
            return 1
        return min(len(SCALARS) // self._steps, VECTORS - self._steps)

    @property
    def _starts(self) -> str:
        """What sums start at is read from there; from nowhere if this is empty."""
        if self.first:
            return "out"
        return "" if self.blocks.start == "none" else "start"

    def write(self, at: Places) -> None:
        """Write the instructions for a column at some place."""
        for k in range(self.first, self.end):
            place = at["vectors"] + 4 * k * self.blocks.columns
            self.code.vector("vld", k - self.first, "vectors", place, self.lanes)
        most = self.blocks.straight // (self._steps + 3)
        before, times, trip = split(self.blocks.rows, self._group, most)
        sums = dict.fromkeys(filter(None, ("out", self._starts)))
        rows = {"scalars": at["scalars"] + 4 * self.first, **{name: at[name] for name in sums}}
        self._rows(rows, before)
        if times:
            body = shifted(rows, self._row, before)
            step = {name: trip * nbytes for name, nbytes in self._row.items()}
            self.code.loop(times, body, step, lambda there: self._rows(there, trip))

    @property
    def _row(self) -> dict[str, int]:
        """Bytes to the next row."""
        return {"scalars": 4 * self.blocks.depth, **self.blocks.sums(1, 0)}

    def _rows(self, at: Places, count: int) -> None:
        for first in range(0, count, self._group):
            rows = min(self._group, count - first)
            self._sums([shifted(at, self._row, first + row) for row in range(rows)])

    def _sums(self, rows: Sequence[Places]) -> None:
        """Sums side by side."""
        code, scalars = self.code, SCALARS[: len(rows) * self._steps]
        code.words(scalars, "scalars", rows[0]["scalars"])
        if self._starts:
            for row, at in enumerate(rows, self._steps):
                code.vector("vld", row, self._starts, at[self._starts], self.lanes)
        for k in range(self._steps):
            verb = "vfma.f32" if k or self._starts else "vmul.f32"
            for row, scalar in enumerate(scalars[k :: self._steps], self._steps):
                code.lines.append(f"{verb} q{row}, q{k}, {scalar}")
        for row, at in enumerate(rows, self._steps):
            code.vector("vst", row, "out", at["out"], self.lanes)
