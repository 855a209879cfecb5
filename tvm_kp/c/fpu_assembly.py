"""The assembly of a tile of sums of outer products of floats, for a core with a scalar FPU.

The sums are in s0 and up, row by row; behind them are scalars, then vectors, in the order in which
they lie in memory, because load-multiples fill them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from tvm_kp.c.thumb import advanced


@dataclass(frozen=True)
class FpuTile:
    """``rows`` x ``columns`` sums of ``depth`` products; results have ``stride`` columns.

    ``weights`` says which of the operands, "scalars" (of the rows) or "vectors" (of the columns),
    was packed, ``packed`` to a step, of which this tile may lack some; "none" was if neither is
    constant. The sums start at 0, at a vector for each ``row`` or at one for each sum of the
    ``tile``, as ``start`` says. Loads read the scalars of ``scalar_steps`` along the sum, and the
    vectors of ``vector_steps``; up to ``unroll`` times the larger are written out.
    """

    rows: int
    columns: int
    depth: int
    stride: int
    weights: str
    packed: int
    start: str
    scalar_steps: int
    vector_steps: int
    unroll: int

    @property
    def looped(self) -> tuple[int, int]:
        """Steps in front of the loop, and times around it."""
        times = self.depth // self._body
        return (self.depth, 0) if times <= 1 else (self.depth % self._body, times)

    @property
    def scalars(self) -> tuple[str, ...]:
        """The pointers to scalars: one a row, if these are not packed."""
        rows = 1 if self.weights == "scalars" else self.rows
        return ("a", *(f"a{row}" for row in range(1, rows)))

    @property
    def changed(self) -> tuple[str, ...]:
        """The operands that the instructions change."""
        times = ("times",) if self.looped[1] else ()
        return (*self.scalars, "b", *times, *filter(self._goes_on, self._moved))

    @property
    def kept(self) -> tuple[str, ...]:
        """Pointers that they leave as they are."""
        return tuple(one for one in self._moved if not self._goes_on(one))

    @property
    def starts_at_zero(self) -> bool:
        """Whether the sums are set to 0, and do not start as products."""
        return self.start == "none" and not self.looped[0]

    @property
    def registers(self) -> int:
        """How many are used."""
        return self._first_vector + self.vector_steps * self._width

    @cached_property
    def lines(self) -> list[str]:
        """The instructions; operands are ``%[out]``, the pointers of ``scalars``, ``%[b]`` to the
        vectors, ``%[start]``, ``%[times]`` around the loop, and ``%[zero]`` to start at."""
        before, times = self.looped
        lines = [*self._first_sums(), *self._steps(before, self.start == "none")]
        if times:
            lines += ["1:", *self._steps(self._body, False), "subs %[times], #1", "bne 1b"]
        return [*lines, *self._moves("vstmia", "out", self.rows)]

    @property
    def _moved(self) -> tuple[str, ...]:
        return ("out",) if self.start == "none" else ("out", "start")

    def _goes_on(self, pointer: str) -> bool:
        """Whether a pointer to sums goes from row to row."""
        single = self.rows == 1 or (pointer == "start" and self.start == "row")
        return not single and self.columns != self.stride

    @property
    def _body(self) -> int:
        return max(self.scalar_steps, self.vector_steps) * self.unroll

    @property
    def _sums(self) -> int:
        return self.rows * self.columns

    @property
    def _height(self) -> int:
        """Scalars of a step."""
        return self.packed if self.weights == "scalars" else self.rows

    @property
    def _width(self) -> int:
        """Numbers of a vector."""
        return self.packed if self.weights == "vectors" else self.columns

    @property
    def _first_vector(self) -> int:
        return self._sums + self.scalar_steps * self._height

    def _first_sums(self) -> Iterator[str]:
        if self.starts_at_zero:
            yield from (f"vmov s{k}, %[zero]" for k in range(self._sums))
        if self.start == "none":
            return
        yield from self._moves("vldmia", "start", self.rows if self.start == "tile" else 1)
        if self.start == "row":
            copies = range(self.columns, self._sums)
            yield from (f"vmov.f32 s{k}, s{k % self.columns}" for k in copies)

    def _moves(self, verb: str, pointer: str, rows: int) -> Iterator[str]:
        """Load or store the sums of ``rows``, all at once where they are neighbors in memory."""
        together = rows if self.columns == self.stride else 1
        for row in range(0, rows, together):
            if row:
                yield from advanced(pointer, 4 * self.stride)
            registers = _listed(row * self.columns, together * self.columns)
            yield f"{verb} %[{pointer}], {registers}"

    def _steps(self, count: int, fresh: bool) -> Iterator[str]:
        """``count`` steps along the sum; where these are ``fresh`` they are what sums start at."""
        for k in range(count):
            if k % self.scalar_steps == 0:
                yield from self._load_scalars(min(self.scalar_steps, count - k))
            if k % self.vector_steps == 0:
                yield from self._load_vectors(min(self.vector_steps, count - k))
            yield from self._step(k, "vmul.f32" if fresh and k == 0 else "vfma.f32")

    def _load_scalars(self, steps: int) -> Iterator[str]:
        if self.weights == "scalars":
            yield f"vldmia %[a]!, {_listed(self._sums, steps * self.packed)}"
            return
        for row, pointer in enumerate(self.scalars):
            yield f"vldmia %[{pointer}]!, {_listed(self._sums + row * self.scalar_steps, steps)}"

    def _load_vectors(self, steps: int) -> Iterator[str]:
        registers = _listed(self._first_vector, steps * self._width)
        if self.weights == "vectors" or self.columns == self.stride:
            yield f"vldmia %[b]!, {registers}"
        else:
            yield f"vldmia %[b], {registers}"
            yield from advanced("b", 4 * self.stride)

    def _step(self, k: int, multiply: str) -> Iterator[str]:
        """The products of all sums one after the other: none waits for the one before."""
        of_row, of_step = (1, self.packed) if self.weights == "scalars" else (self.scalar_steps, 1)
        scalar = self._sums + k % self.scalar_steps * of_step
        vector = self._first_vector + k % self.vector_steps * self._width
        for total in range(self._sums):
            row, column = divmod(total, self.columns)
            yield f"{multiply} s{total}, s{scalar + row * of_row}, s{vector + column}"


def _listed(first: int, count: int) -> str:
    """Registers, for a load- or store-multiple."""
    return f"{{s{first}}}" if count == 1 else f"{{s{first}-s{first + count - 1}}}"
