"""The assembly of a tile of sums of outer products of floats, for a core with MVE.

A VFMA adds a vector times a scalar in a core register to four sums. The sums are in q0 and up, row
by row; scalars are in ascending registers, because load-multiples fill them. r7 is left out, since
it may be the frame pointer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from tvm_kp.c.thumb import load, load_name, number, reached

LANES, VECTORS = 4, 8
SCALARS = ("r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8")


@dataclass(frozen=True)
class OuterTile:
    """``rows`` of scalars times ``vectors``, summed over ``depth``.

    Results have ``columns``. ``weights`` says which of the operands, "scalars" or "vectors", was
    packed, ``packed`` rows or vectors to a tile, of which this one may lack some. The last
    vector lacks lanes where it has a ``tail``. The sums start at 0, at a vector for each
    ``row`` or for each sum of the ``tile``, as ``start`` says. Up to ``unroll`` groups of steps
    along the sum are written out.
    """

    rows: int
    vectors: int
    depth: int
    columns: int
    weights: str
    packed: int
    start: str
    unroll: int
    tail: int = 0

    @property
    def group(self) -> int:
        """Steps whose scalars are loaded together."""
        if self.weights == "scalars":
            return len(SCALARS) // self.packed
        return 4 if self.rows == 1 else 2

    @property
    def looped(self) -> tuple[int, int]:
        """Steps in front of the loop, and times around it."""
        step = self.group * self.unroll
        times = self.depth // step
        return (self.depth, 0) if times <= 1 else (self.depth - times * step, times)

    @property
    def scalars(self) -> tuple[str, ...]:
        """The registers that scalars are loaded to."""
        rows = self.packed if self.weights == "scalars" else self.rows
        return SCALARS[: rows * min(self.group, self.depth)]

    @property
    def pointers(self) -> dict[str, str]:
        """The registers of the operands: GCC finds none by itself if scalars take most low ones."""
        named = {"out": "r11", "w": "r9", "x": "r10", "start": "r12"}
        return {n: r for n, r in named.items() if n != "start" or self.start != "none"}

    @property
    def clobbered(self) -> tuple[str, ...]:
        """All registers that are no operands."""
        vectors = self.rows * self.vectors
        used = (f"q{k}" for k in range(min(VECTORS, vectors + 2)))
        return (*self.scalars, *used, *(("lr",) if self.looped[1] else ()))

    @cached_property
    def lines(self) -> list[str]:
        """The instructions; ``%[w]``, ``%[x]``, ``%[out]`` and ``%[start]`` are operands."""
        before, times = self.looped
        lines = [f"movs {SCALARS[0]}, #{self.tail}", f"vctp.32 {SCALARS[0]}"] if self.tail else []
        lines += [*self._first_sums(), *self._steps(before, self.start == "none")]
        if times:
            lines += [*number("lr", times), "dls lr, lr", "1:"]
            lines += [*self._steps(self.group * self.unroll, False), "le lr, 1b"]
        return [*lines, *self._stores()]

    def _sum(self, row: int, vector: int) -> str:
        return f"q{row * self.vectors + vector}"

    def _first_sums(self) -> Iterator[str]:
        sums = self.rows * self.vectors
        if self.start == "none":
            yield from () if self.looped[0] else (f"vmov.i32 q{k}, #0" for k in range(sums))
            return
        yield from self._moves("vldrw", "u32", "start", self.rows if self.start == "tile" else 1)
        if self.start == "row":
            pairs = ((self._sum(r, k), k) for r in range(1, self.rows) for k in range(self.vectors))
            yield from (f"vmov {name}, q{k}" for name, k in pairs)

    def _stores(self) -> Iterator[str]:
        yield from self._moves("vstrw", "32", "out", self.rows)

    def _moves(self, verb: str, size: str, pointer: str, rows: int) -> Iterator[str]:
        """Load or store the sums of ``rows``; lanes beyond the ``tail`` are left alone."""
        for row in range(rows):
            # The first vector comes last: its address becomes that of the next row.
            for k in reversed(range(self.vectors)):
                step = 4 * self.columns if k == 0 and row < rows - 1 else 0
                name = f"{verb}{self._then(k)}.{size} {self._sum(row, k)}"
                yield from reached(name, pointer, 16 * k, step)

    def _then(self, vector: int) -> str:
        """What marks an access to a vector of results that lacks lanes."""
        return "t" if self.tail and vector == self.vectors - 1 else ""

    def _steps(self, count: int, fresh: bool) -> Iterator[str]:
        """``count`` steps along the sum; where these are ``fresh`` they are what sums start at."""
        for first in range(0, count, self.group):
            steps = min(self.group, count - first)
            yield from self._load_scalars(steps)
            for k in range(steps):
                yield from self._step(k, steps, fresh and first + k == 0)

    def _step(self, k: int, steps: int, fresh: bool) -> Iterator[str]:
        multiply = "vmul.f32" if fresh else "vfma.f32"
        sums = self.rows * self.vectors
        for vector in reversed(range(self.vectors)):
            # Two registers in turn where there are, so that a load need not wait.
            loaded = f"q{min(VECTORS - 1, sums + vector % 2)}"
            yield from self._load_vector(loaded, vector)
            for row in range(self.rows):
                scalar = k * self.packed + row if self.weights == "scalars" else row * steps + k
                yield f"{multiply} {self._sum(row, vector)}, {loaded}, {SCALARS[scalar]}"

    def _load_vector(self, register: str, vector: int) -> Iterator[str]:
        packed = self.weights == "vectors"
        row = 16 * self.packed if packed else 4 * self.columns
        name = f"vldrw{'' if packed else self._then(vector)}.u32 {register}"
        step = 0 if vector else row
        yield from reached(name, "w" if packed else "x", 16 * vector, step)

    def _load_scalars(self, steps: int) -> Iterator[str]:
        """Load the scalars of ``steps``; the pointer goes on."""
        if self.weights == "scalars":
            packed = self.packed * steps
            yield load("w", SCALARS[:packed], 4 * packed)
            return
        for row in reversed(range(self.rows)):
            registers = self.scalars[row * steps : (row + 1) * steps]
            if row:
                yield f"{load_name(registers)}, [%[x], #{4 * self.depth * row}]"
            else:
                yield load("x", registers, 4 * steps)
