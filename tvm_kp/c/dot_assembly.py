"""The assembly of a panel of dot products of integers, requantized, for a core with MVE.

VMLADAVA adds eight products of int16, or sixteen of int8, to a core register with an even number;
what becomes of four sums is done in vectors. The operands are in odd registers; r7 is left out,
since it may be the frame pointer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

from tvm_kp.c.dot_panel import DotPanel
from tvm_kp.c.instructions import Instructions, Places, shifted
from tvm_kp.c.predicate import Predicate
from tvm_kp.c.product_assembly import loop_of
from tvm_kp.c.requantization import REACH, Requantization, multiples

SUMS = ("r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr")
# Only a low register may point to what is widened or narrowed.
_POINTERS = {"out": "r3", "w": "r1", "x": "r5", "start": "r9", "factor": "r11"}
_WRITTEN_OUT = 6  # groups of products that need no loop
# The loads of a group, by how many numbers it has and their bits: what is narrow is widened.
_LOADS = {
    **{(4, 8): "vldrb.s32", (8, 8): "vldrb.s16", (16, 8): "vldrb.u8"},
    **{(4, 16): "vldrh.s32", (8, 16): "vldrh.u16"},
}


class DotAssembly:
    """The instructions of a panel: ``lines``.

    ``pointers`` are the registers of the operands; that of a factor which is in no memory has the
    number.
    """

    def __init__(self, panel: DotPanel) -> None:
        self._panel, self._code = panel, Instructions()
        self.pointers = {
            n: r for n, r in _POINTERS.items() if n != "start" or panel.start != "none"
        }
        self._sums = SUMS[: panel.height * panel.width]
        kept = panel.width * panel.dots if panel.kept else 0
        # Two rows of four columns leave one vector beside those for places.
        free = (f"q{kept}", f"q{kept + (panel.height > 2)}")
        self._offsets, self._weights = free[0], free if panel.kept else ("q2", "q3")
        self._dots = panel.dots - self._has_tail  # groups that are all loaded in one way
        before, times, unroll = loop_of(self._dots, panel.dots if panel.kept else _WRITTEN_OUT)
        self._before, self._groups = before, unroll if times > 1 else max(1, self._dots)
        self._counters = self._assign()
        self._predicate = Predicate(self._code.lines)
        self._after = Requantization(panel, self._code, self._predicate, self._sums, free)
        self._write()

    @property
    def lines(self) -> list[str]:
        return self._code.lines

    @property
    def _has_tail(self) -> bool:
        """Whether the last group is loaded in another way than others."""
        return self._panel.tail > 0 and not self._panel.kept

    def _assign(self) -> dict[str, tuple[str, bool]]:
        """The registers that loops count in, and whether these are lent, by the names of loops."""
        panel, pointers = self._panel, _POINTERS
        free = [*SUMS[len(self._sums) :]]
        free[:0] = [pointers["start"]] * (panel.start == "none")
        free[:0] = [pointers["factor"]] * (panel.factor == "number")
        one, kept = [pointers["factor"]] * (panel.factor == "one"), [pointers["x"]] * panel.kept
        # Trips of the loops, the innermost first, and registers of what is not used in them.
        loops = {
            "groups": (self._dots // self._groups, [pointers["out"]]),
            "tiles": (panel.rows // panel.height // panel.trip, [*kept, *one]),
            "columns": (panel.columns // panel.width // panel.across, one),
            "blocks": (panel.blocks // panel.together, list[str]()),
        }
        counters: dict[str, tuple[str, bool]] = {}
        for name, (trips, idle) in loops.items():
            taken = [register for register, _ in counters.values()]
            lent = [register for register in idle if register not in taken]
            if trips > 1 and (free or lent):
                counters[name] = (free.pop(), False) if free else (lent[0], True)
        return counters

    def _repeat(
        self,
        name: str,
        count: int,
        written: int,
        at: Places,
        step: Places,
        body: Callable[[Places], None],
    ) -> None:
        """``body`` for ``count`` places, ``written`` times in a loop if that has several trips."""
        trips, before = divmod(count, written)
        if trips < 2:
            trips, before = 0, count

        def straight(times: int, there: Places) -> None:
            for k in range(times):
                body(shifted(there, step, k))

        def write(there: Places) -> None:
            self._predicate.forget()
            straight(written, there)

        straight(before, at)
        if not trips:
            return
        # A counter that has other uses inside is kept in memory.
        counter, lent = self._counters.get(name, (SUMS[0], False))
        onward = {pointer: written * nbytes for pointer, nbytes in step.items()}
        begin = shifted(at, step, before)
        loop = partial(self._code.loop, trips, begin, onward, write, counter)
        self._code.lend(counter, loop) if lent else loop()
        self._predicate.forget()

    def _write(self) -> None:
        panel = self._panel
        self._after.set_up()
        sizes = {"w": 1, "x": panel.bits // 8, "out": panel.out_bits // 8, "start": 4, "factor": 4}
        steps = {n: size * step for (n, size), step in zip(sizes.items(), panel.steps, strict=True)}
        begin = dict.fromkeys(self.pointers, 0)
        self._repeat("blocks", panel.blocks, panel.together, begin, steps, self._block)

    def _block(self, at: Places) -> None:
        panel, tiles = self._panel, self._panel.down
        self._after.set_up_block(at)
        whole, rest = divmod(panel.columns, panel.width)
        step = {
            "x": panel.width * panel.x_column * panel.bits // 8,
            "out": panel.width * panel.out_column * panel.out_bits // 8,
            "start": tiles * panel.bytes_of(panel.start) if panel.start == "tile" else 0,
            "factor": tiles * panel.bytes_of(panel.factor) if panel.factor == "tile" else 0,
        }
        column = partial(self._column, panel.width)
        self._repeat("columns", whole, panel.across, at, step, column)
        if rest:
            self._column(rest, shifted(at, step, whole))

    def _column(self, columns: int, at: Places) -> None:
        panel = self._panel
        if panel.tail:
            self._predicate.first(panel.tail, 128 // panel.lanes)
        if panel.kept:
            self._keep(columns, at["x"])
        whole, rest = divmod(panel.rows, panel.height)
        step = {
            "w": panel.weights[0],
            "out": panel.height * panel.out_row * panel.out_bits // 8,
            "start": panel.bytes_of(panel.start),
            "factor": panel.bytes_of(panel.factor),
        }
        tile = partial(self._tile, panel.height, columns)
        self._repeat("tiles", whole, panel.trip, at, step, tile)
        if rest:
            self._tile(rest, columns, shifted(at, step, whole))

    def _keep(self, columns: int, x: int) -> None:
        """Load the activations of a column of tiles."""
        panel = self._panel
        if panel.gathered:
            self._code.lines += multiples(self._offsets, 128 // panel.lanes, panel.x_step)
        for column, group in product(range(columns), range(panel.dots)):
            place = column * panel.x_column + group * panel.lanes * panel.x_step
            lacks = panel.tail > 0 and group == panel.dots - 1
            self._load(f"q{column * panel.dots + group}", x + place * panel.bits // 8, lacks)

    def _load(self, vector: str, place: int, lacks: bool) -> None:
        """Load a group of activations."""
        panel = self._panel
        verb, size = _LOADS[panel.lanes, panel.bits].split(".")
        name = f"{verb}{'t' if lacks else ''}.{size} {vector}"
        if panel.gathered:
            self._code.apart(name, "x", place, self._offsets, panel.bits)
        else:
            self._code.access(name, "x", place, REACH[panel.bits])

    def _tile(self, rows: int, columns: int, at: Places) -> None:
        panel = self._panel
        self._first_sums(columns, at)
        group = 0 if panel.kept else panel.lanes * panel.bits // 8
        operands = {name: at[name] for name in ("w", "x")}
        step = {"w": panel.weights[1], "x": group}
        self._group = 0
        add = partial(self._add, rows, columns, False)
        self._repeat("groups", self._dots, self._groups, operands, step, add)
        if self._has_tail:
            self._add(rows, columns, True, shifted(operands, step, self._dots))
        self._after.write(rows, columns, at)

    def _first_sums(self, columns: int, at: Places) -> None:
        """Where sums start; at none if the first products can be the sums."""
        panel, code = self._panel, self._code
        looped = self._dots > self._groups
        self._fresh = panel.start == "none" and (self._before > 0 or not looped)
        if panel.start == "none":
            code.lines += [] if self._fresh else [f"mov {name}, #0" for name in self._sums]
            return
        loaded = self._sums[: panel.height * (columns if panel.start == "tile" else 1)]
        if panel.start == "tile" and len(self._sums) - len(loaded) <= 2:
            loaded = self._sums  # Those of columns that the tile lacks, too: they do no harm.
        code.words(loaded, "start", at["start"])
        if panel.start == "row" and columns == 2:
            pairs = zip(self._sums[panel.height :], loaded, strict=True)
            code.lines += [f"mov {name}, {other}" for name, other in pairs]

    def _add(self, rows: int, columns: int, lacks: bool, at: Places) -> None:
        """Add a group of products to every sum, or make them the sums if these are fresh."""
        panel, code = self._panel, self._code
        apart = panel.x_column * panel.bits // 8
        loaded = {column: at["x"] + column * apart for column in range(columns) if not panel.kept}
        # The nearest one first, as the pointer may have to go to and fro.
        for column in sorted(loaded, key=lambda column: abs(code.away("x", loaded[column]))):
            self._load(f"q{column}", loaded[column], lacks)
        multiply = f"{'vmladav' if self._fresh else 'vmladava'}.s{128 // panel.lanes}"
        for row in range(rows):
            weights = self._weights[row % 2]
            load = f"{_LOADS[panel.lanes, 8]} {weights}"
            code.access(load, "w", at["w"] + row * panel.lanes, REACH[8])
            for column in range(columns):
                vector = f"q{column * panel.dots + self._group if panel.kept else column}"
                total = self._sums[column * panel.height + row]
                code.lines.append(f"{multiply} {total}, {weights}, {vector}")
        self._fresh, self._group = False, self._group + 1
