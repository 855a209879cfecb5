"""The assembly of a tile of sums of products of packed integers, for a core with DSP.

Registers are fixed, because a load-multiple fills them in ascending order. r7 is left out, since
it may be the frame pointer; r11 and r12 point to the operands; lr holds a temporary word, or the
pointer to where sums start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

_REGISTERS = ("r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10")


@dataclass(frozen=True)
class Tile:
    """``rows`` of weights times ``columns`` of activations, ``pairs`` of products each.

    ``wide`` weights are pairs of int16 already. The next tile is ``along`` a row, or down a column.
    The sums start at 0, at a number for each ``row`` or at one for each sum of the ``tile``, as
    ``start`` says. Up to ``straight`` pairs need no loop.
    """

    rows: int
    columns: int
    pairs: int
    wide: bool
    along: bool
    start: str
    straight: int

    @property
    def sums(self) -> tuple[str, ...]:
        return _REGISTERS[: self.rows * self.columns]

    @property
    def words(self) -> tuple[str, ...]:
        """Registers of operands; wide weights leave lr to them."""
        rest = _REGISTERS[len(self.sums) :]
        return (*rest, "lr") if self.wide else rest

    @property
    def batch(self) -> int:
        """How many pairs are loaded at once."""
        # Wide weights of two pairs would take two more registers than there are.
        kept = self.rows if self.wide else 2 * self.weights
        return 2 if kept + 2 * self.columns <= len(self.words) else 1

    @property
    def start_moves(self) -> bool:
        """Whether the next tile starts at other numbers."""
        return self.start == "tile" or (self.start == "row" and not self.along)

    @property
    def weights(self) -> int:
        """Words of weights for one pair of products."""
        return self.rows if self.wide else self.rows // 2

    @property
    def looped(self) -> tuple[int, int, int]:
        """Batches in front of the loop, times around it, and batches in it."""
        return loop_of(self.pairs // self.batch, self.straight // self.batch)

    @cached_property
    def lines(self) -> list[str]:
        """The instructions; ``%[w]``, ``%[x]``, ``%[start]`` and ``%[end]``, of x, are operands."""
        before, times, unroll = self.looped
        lines = self._first_sums()
        fresh = self.start == "none"
        if fresh and not before and times:
            lines += [f"mov {name}, #0" for name in self.sums]
            fresh = False
        for _ in range(before):
            lines += self._batch(self.batch, fresh)
            fresh = False
        if times:
            lines += [
                "1:",
                *(line for _ in range(unroll) for line in self._batch(self.batch, False)),
            ]
            lines += ["ldr lr, %[end]", "cmp %[x], lr", "bne 1b"]
        return lines + (self._batch(1, fresh) if self.pairs % self.batch else [])

    @property
    def clobbered(self) -> tuple[str, ...]:
        """The registers that are neither operands nor sums."""
        return (*_REGISTERS[len(self.sums) :], "lr")

    def _first_sums(self) -> list[str]:
        if self.start == "none":
            return []
        each = self.start == "tile" or self.columns == 1
        loaded = self.sums if each else self.sums[:: self.columns]
        lines = ["ldr lr, %[start]", _load("lr", loaded, advance=self.start_moves)]
        lines += ["str lr, %[start]"] if self.start_moves else []
        if not each:
            lines += [
                f"mov {self.sums[row + column]}, {self.sums[row]}"
                for row in range(0, len(self.sums), self.columns)
                for column in range(1, self.columns)
            ]
        return lines

    def _batch(self, pairs: int, fresh: bool) -> list[str]:
        """Add ``pairs`` products to every sum, or make them the sums if these are ``fresh``."""
        kept = self.weights * (1 if self.wide else pairs)
        weights, words = self.words[:kept], self.words[kept:][: self.columns * pairs]
        lines = [_load("%[x]", words)]
        for pair in range(pairs):
            if pair == 0 or self.wide:
                lines.append(_load("%[w]", weights))
            part = weights if self.wide else weights[pair * self.weights :][: self.weights]
            column = words[pair * self.columns :][: self.columns]
            lines += self._pair(part, column, fresh and pair == 0)
        return lines

    def _pair(self, weights: Sequence[str], words: Sequence[str], fresh: bool) -> list[str]:
        lines = []
        for row in range(self.rows):
            register = weights[row if self.wide else row // 2]
            if not self.wide:
                widened = register if row % 2 else "lr"
                rotated = ", ror #8" if row % 2 else ""
                lines.append(f"sxtb16 {widened}, {register}{rotated}")
                register = widened
            for column, word in enumerate(words):
                total = self.sums[row * self.columns + column]
                products = f"{total}, {register}, {word}"
                lines.append(f"smuad {products}" if fresh else f"smlad {products}, {total}")
        return lines


def loop_of(batches: int, written_out: int) -> tuple[int, int, int]:
    """Batches in front of a loop, times around it, and batches in it: up to ``written_out``
    batches need none."""
    if batches <= written_out:
        return batches, 0, 0
    unroll = min((4, 5, 6), key=lambda n: _loop_cost(batches, n))
    return batches % unroll, batches // unroll, unroll


def _loop_cost(batches: int, unroll: int) -> int:
    """Going around costs three instructions; a batch more that is written out costs flash."""
    return 3 * (batches // unroll) + 2 * (batches % unroll + unroll)


def _load(pointer: str, registers: Sequence[str], advance: bool = True) -> str:
    """One instruction that loads all ``registers``, which are in ascending order."""
    names, nbytes = ", ".join(registers), 4 * len(registers)
    if len(registers) > 2:
        return f"ldmia {pointer}{'!' if advance else ''}, {{{names}}}"
    after = f", #{nbytes}" if advance else ""
    return f"{'ldr' if nbytes == 4 else 'ldrd'} {names}, [{pointer}]{after}"
