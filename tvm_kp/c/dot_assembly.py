"""The assembly of a tile of dot products of integers, for a core with MVE.

VMLADAVA adds eight products of int16, or sixteen of int8, to a core register with an even number.
The operands are in odd registers; r7 is left out, since it may be the frame pointer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from tvm_kp.c.product_assembly import loop_of

SUMS = ("r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr")
COUNTER = "r9"
_WRITTEN_OUT = 6  # blocks that need no loop
# The loads of a block, by how many numbers it has and their bits: what is narrow is widened.
_LOADS = {
    **{(4, 8): "vldrb.s32", (8, 8): "vldrb.s16", (16, 8): "vldrb.u8"},
    **{(4, 16): "vldrh.s32", (8, 16): "vldrh.u16"},
}


@dataclass(frozen=True)
class DotTile:
    """``rows`` of weights times ``columns`` of activations, ``blocks`` of ``lanes`` products each.

    The activations have ``bits``. The sums start at 0, at a number for each ``row`` or at one for
    each sum of the ``tile``, as ``start`` says; the first column's sums come first. The last block
    of activations may have no more than a ``tail``. Where activations are ``kept``, they are in
    vectors ``%q[x<column>_<block>]``, and may have been ``gathered``.
    """

    rows: int
    columns: int
    blocks: int
    lanes: int
    bits: int
    start: str
    tail: int = 0
    kept: bool = False
    gathered: bool = False

    @property
    def depth(self) -> int:
        """Products of a sum."""
        return self.blocks * self.lanes - (self.lanes - self.tail if self.tail else 0)

    @property
    def sums(self) -> tuple[str, ...]:
        return SUMS[: self.rows * self.columns]

    @property
    def vectors(self) -> int:
        """Vectors of four sums."""
        return len(self.sums) // 4

    @property
    def free(self) -> tuple[str, ...]:
        """Vectors for two vectors of sums and their factors."""
        return ("%q[t0]", "%q[t1]", "%q[t2]", "%q[t2]") if self.kept else ("q0", "q1", "q2", "q3")

    @property
    def weights(self) -> tuple[str, ...]:
        """Vectors for weights of two rows."""
        return self.free[:2] if self.kept else self.free[2:]

    def activations(self, column: int, block: int) -> str:
        """The vector with a block of activations."""
        return f"%q[x{column}_{block}]" if self.kept else f"q{column}"

    def load(self, column: int, block: int, then: str = "") -> str:
        """Load a block of activations; ``then`` marks the load as one that is predicated."""
        nbytes = self.lanes * self.bits // 8
        place = f"[%[x{column}]], #{nbytes}" if self.moves else f"[%[x{column}], #{nbytes * block}]"
        return f"{self._load(then)} {self.activations(column, block)}, {place}"

    def _load(self, then: str) -> str:
        verb, size = _LOADS[self.lanes, self.bits].split(".")
        return f"{verb}{then}.{size}"

    def keep(self, column: int, block: int) -> Iterator[str]:
        """Load a block of activations that is kept: at ``%[x<column>]``, or at ``%q[steps]``
        from there; ``%[tail]`` is how many numbers the last block has."""
        then = ""
        if self.tail and block == self.blocks - 1:
            then = "t"
            yield from (f"vctp.{128 // self.lanes} %[tail]", "vpst")
        offset = f"#{self.lanes * self.bits // 8 * block}"
        if self.gathered:
            offset = "%q[steps]" + (", uxtw #1" if self.bits == 16 else "")
        vector = self.activations(column, block)
        yield f"{self._load(then)} {vector}, [%[x{column}], {offset}]"

    @property
    def looped(self) -> tuple[int, int, int]:
        """Blocks in front of the loop, times around it, and blocks in it; a tail comes behind."""
        return loop_of(self.blocks - self._has_tail, _WRITTEN_OUT)

    @property
    def moves(self) -> bool:
        """Whether the assembly changes the pointers to activations."""
        return self.looped[1] > 0

    @cached_property
    def lines(self) -> list[str]:
        """The instructions; ``%[w]``, ``%[x0]``, ``%[x1]`` and ``%[start]`` are operands."""
        before, times, unroll = self.looped
        lines = list(self._first_sums(before > 0 or not times))
        for block in range(before):
            lines += self._block(block, block == 0 and self.start == "none")
        if times:
            lines += [f"movw {COUNTER}, #{times}", "1:"]
            lines += [line for k in range(unroll) for line in self._block(k, False)]
            lines += [f"subs {COUNTER}, #1", "bne 1b"]
        if self._has_tail:
            lines += self._block(self.blocks - 1, self.blocks == 1 and self.start == "none")
        return lines

    @property
    def clobbered(self) -> list[str]:
        """The registers that are neither operands nor sums."""
        if self.kept:
            return [name for name in self.sums if name != "lr" or self.start == "none"]
        return [*self.free, *([COUNTER] if self.moves or self._has_tail else [])]

    @property
    def _has_tail(self) -> bool:
        """Whether the last block is loaded in another way than others."""
        return self.tail > 0 and not self.kept

    def _first_sums(self, products: bool) -> Iterator[str]:
        """Where sums start; at none if they may be ``products``."""
        if self.start == "none":
            yield from () if products else (f"mov {name}, #0" for name in self.sums)
            return
        each = self.start == "tile" or self.columns == 1
        loaded = self.sums if each else self.sums[: self.rows]
        yield f"ldmia %[start], {{{', '.join(loaded)}}}"
        if not each:
            pairs = zip(self.sums[self.rows :], loaded, strict=True)
            yield from (f"mov {name}, {other}" for name, other in pairs)

    def _block(self, index: int, fresh: bool) -> Iterator[str]:
        """Add a block of products to every sum, or make them the sums if these are ``fresh``."""
        if self._has_tail and index == self.blocks - 1:
            yield from (f"movs {COUNTER}, #{self.tail}", f"vctp.{128 // self.lanes} {COUNTER}")
            yield f"vps{'t' * self.columns}"
            yield from (self.load(column, index, "t") for column in range(self.columns))
        elif not self.kept:
            yield from (self.load(column, index) for column in range(self.columns))
        multiply = f"{'vmladav' if fresh else 'vmladava'}.s{128 // self.lanes}"
        for row in range(self.rows):
            weights = self.weights[row % 2]
            yield f"{_LOADS[self.lanes, 8]} {weights}, [%[w]], #{self.lanes}"
            for column in range(self.columns):
                total = self.sums[column * self.rows + row]
                yield f"{multiply} {total}, {weights}, {self.activations(column, index)}"


@dataclass(frozen=True)
class Requantization:
    """What becomes of vectors of four sums.

    ``factor`` is ``one`` vector ``%[by]`` for all, or where one is for each ``row`` or sum of the
    ``tile``. Results have ``bits``; they are ``apart`` by the vector ``%[places]``, or neighbors.
    Where there is a ``rest``, the last vector of a row of tiles may lack some.
    """

    tile: DotTile
    factor: str
    bits: int
    left: int
    apart: bool
    rest: bool

    @property
    def moves(self) -> bool:
        """Whether the assembly changes the pointers to results."""
        return self.tile.kept and not self.apart

    def lines(self) -> Iterator[str]:
        """The instructions; ``%[out0]``, ``%[out1]``, ``%[factor]`` and ``%[rows]`` are operands.

        ``%[rows]`` counts what is left from the last vector along a column on.
        """
        vectors = range(self.tile.vectors)
        for k in vectors:
            sums, vector = self.tile.sums[4 * k : 4 * k + 4], self.tile.free[k]
            yield f"vmov {vector}[2], {vector}[0], {sums[0]}, {sums[2]}"
            yield f"vmov {vector}[3], {vector}[1], {sums[1]}, {sums[3]}"
        for k in vectors:
            yield from self._scaled(k)
        for vector in self.tile.free[: self.tile.vectors]:
            yield f"vqmovnb.s32 {vector}, {vector}"
            if self.bits == 8:
                yield f"vqmovnb.s16 {vector}, {vector}"
        yield from self._stores()

    def _scaled(self, k: int) -> Iterator[str]:
        vector = self.tile.free[k]
        if self.left:
            # It saturates to other numbers than ``requantize`` does, but what becomes of either
            # is out of the range of the result.
            yield f"vqshl.s32 {vector}, {vector}, #{self.left}"
        shared = self.factor == "row" and self.tile.columns == 2
        by = "%q[by]" if self.factor == "one" else self.tile.free[2 if shared else 2 + k]
        if self.factor != "one" and not (shared and k):
            yield f"vldrw.u32 {by}, [%[factor], #{16 * k}]"
        yield f"vrmulh.s32 {vector}, {vector}, {by}"

    def _stores(self) -> Iterator[str]:
        vectors = self.tile.vectors
        predicated = vectors if self.tile.columns == 2 else 1  # the last of them
        for k in range(vectors):
            may_lack = self.rest and k >= vectors - predicated
            if self.rest and k == vectors - predicated:
                yield "vctp.32 %[rows]"
                yield f"vps{'t' * predicated}"
            yield self._store(k, "t" if may_lack else "")

    def _store(self, k: int, then: str) -> str:
        size, scaled = ("b", "") if self.bits == 8 else ("h", ", uxtw #1")
        places = f", %q[places]{scaled}" if self.apart else ""
        advance = f", #{self.bits // 2}" if self.moves else ""
        return f"vstr{size}{then}.32 {self.tile.free[k]}, [%[out{k}]{places}]{advance}"
