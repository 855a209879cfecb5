"""The assembly of sums of outer products of floats, for a core with MVE.

A VFMA adds a vector times a scalar in a core register to four sums. The sums of a tile are in q0
and up, row by row, while its steps go by. Tiles follow each other along what is packed: down the
rows whose scalars are, or across the columns whose vectors are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from tvm_kp.c.float_blocks import VECTORS, Blocks
from tvm_kp.c.instructions import LANES, Instructions, Places, shifted
from tvm_kp.c.parts import Run, runs, split
from tvm_kp.c.scalars import SCALARS, Packed, Rows, Scalars


@dataclass(frozen=True)
class OuterTiles:
    """Tiles of ``rows`` x ``vectors``; ``weights``, "scalars" or "vectors", were packed for them.

    What was packed lies tile by tile, step by step; the last tile may lack some. The other operand
    lies row by row. Where vectors are not packed, a last tile that would lack columns overlaps the
    one before, unless there are too few for one.
    """

    rows: int
    vectors: int
    weights: str
    blocks: Blocks

    @cached_property
    def lines(self) -> list[str]:
        """The instructions."""
        return self.blocks.lines(self._block)

    def _block(self, code: Instructions, at: Places) -> None:
        scalars = self.weights == "scalars"
        down = runs(self.blocks.rows, self.rows, overlaps=False)
        across = runs(self.blocks.columns, LANES * self.vectors, overlaps=scalars)
        strips, tiles = (across, down) if scalars else (down, across)

        def write(strip: Run, there: Places) -> None:
            for run in tiles:
                size = (run.size, strip.size) if scalars else (strip.size, run.size)
                self._repeat(code, there, run, scalars, _Tile(self, code, *size).write)

        for strip in strips:
            self._repeat(code, at, strip, not scalars, partial(write, strip))

    def _repeat(
        self, code: Instructions, at: Places, run: Run, down: bool, body: Callable[[Places], None]
    ) -> None:
        first, step = (self._place(*((n, 0) if down else (0, n))) for n in (run.first, run.step))
        code.repeat(run.times, shifted(at, first), step, self.blocks.straight, body)

    def _place(self, row: int, column: int) -> dict[str, int]:
        """Bytes from where operands begin to where those of a tile do."""
        vectors = column * (self.blocks.depth if self.weights == "vectors" else 1)
        operands = {"scalars": 4 * row * self.blocks.depth, "vectors": 4 * vectors}
        return {**operands, **self.blocks.sums(row, column)}


@dataclass(frozen=True)
class _Tile:
    """``rows`` x ``columns`` sums of the ``code`` of ``tiles``."""

    tiles: OuterTiles
    code: Instructions
    rows: int
    columns: int

    @property
    def _vectors(self) -> int:
        """Of a row; the last one may lack lanes."""
        return -(-self.columns // LANES)

    @property
    def _step(self) -> dict[str, int]:
        """Bytes to the operands of the next step."""
        scalars = self.tiles.rows if self._packs("scalars") else 1
        packed = LANES * self.tiles.vectors
        vectors = packed if self._packs("vectors") else self.tiles.blocks.columns
        return {"scalars": 4 * scalars, "vectors": 4 * vectors}

    def _packs(self, operand: str) -> bool:
        return self.tiles.weights == operand

    def write(self, at: Places) -> None:
        """Write the instructions for a tile at some place."""
        blocks, step = self.tiles.blocks, self._vectors * (self.rows + 1) + 1
        before, times, trip = split(blocks.depth, len(SCALARS), blocks.straight // step)
        fresh = blocks.start == "none"
        self._start(at, zeros=fresh and not before)
        self._steps(at, before, fresh)
        if times:
            operands = shifted({name: at[name] for name in self._step}, self._step, before)
            onward = {name: trip * step for name, step in self._step.items()}
            self.code.loop(times, operands, onward, lambda there: self._steps(there, trip, False))
        for row in range(self.rows):
            self._sums("vst", "out", at, row)

    def _start(self, at: Places, zeros: bool) -> None:
        start, count = self.tiles.blocks.start, self._vectors
        if zeros:
            self.code.lines += [f"vmov.i32 q{k}, #0" for k in range(self.rows * count)]
        for row in range({"none": 0, "row": 1, "tile": self.rows}[start]):
            self._sums("vld", "start", at, row)
        if start == "row":
            copies = range(count, self.rows * count)
            self.code.lines += [f"vmov q{k}, q{k % count}" for k in copies]

    def _sums(self, verb: str, pointer: str, at: Places, row: int) -> None:
        """Load or store a row of sums."""
        for k in range(self._vectors):
            place = at[pointer] + 4 * self.tiles.blocks.columns * row + 16 * k
            self._move(verb, row * self._vectors + k, k, pointer, place)

    def _move(self, verb: str, register: int, k: int, pointer: str, place: int) -> None:
        """Load or store the ``k``-th vector, of which some lanes may not be there."""
        lanes = min(LANES, self.columns - LANES * k)
        self.code.vector(verb, register, pointer, place, lanes)

    def _steps(self, at: Places, count: int, fresh: bool) -> None:
        """``count`` steps along the sum; where these are ``fresh`` they are what sums start at."""
        scalars = self._scalars(at["scalars"], count)
        for k in range(count):
            multiply = "vmul.f32" if fresh and k == 0 else "vfma.f32"
            for vector in range(self._vectors):
                scalars.register(0, k)  # Before the vector: a load of many takes longer.
                loaded = self._load(vector, at["vectors"] + k * self._step["vectors"])
                for row in range(self.rows):
                    register = row * self._vectors + vector
                    scalar = scalars.register(row, k)
                    self.code.lines.append(f"{multiply} q{register}, q{loaded}, {scalar}")

    def _scalars(self, place: int, count: int) -> Scalars:
        if self._packs("scalars"):
            return Packed(self.code, place, count, self.tiles.rows, whole=self._vectors > 1)
        return Rows(self.code, place, count, self.rows, apart=4 * self.tiles.blocks.depth)

    def _load(self, vector: int, place: int) -> int:
        """Load a vector of a step; the number of its register."""
        # Two in turn where there are, so that a load need not wait.
        register = min(VECTORS - 1, self.rows * self._vectors + vector % 2)
        place += 16 * vector
        if self._packs("vectors"):
            self.code.vector("vld", register, "vectors", place)
        else:
            self._move("vld", register, vector, "vectors", place)
        return register
