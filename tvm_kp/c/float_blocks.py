"""C helpers that compute products of float matrices in one piece of assembly, for a core with MVE.

Their names end in ``<rows>x<depth>x<columns>_<start>_<straight>[_<count>_<scalars>_<vectors>_
<start>]``: the size of a product, where sums start (at none, a vector for each row or for each sum
of the tile), how many instructions are no loop, and, where there are several products
one after the other, how many, and how many numbers the operands of the next are further on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tvm_kp.c.inline_assembly import inline_assembly
from tvm_kp.c.instructions import Instructions, Places
from tvm_kp.c.plain_sums import plain_sums

VECTORS = 8  # registers
PATTERN = r"(\d+)x(\d+)x(\d+)_(none|row|tile)_(\d+)(?:_(\d+)_(\d+)_(\d+)_(\d+))?"


@dataclass(frozen=True)
class Blocks:
    """``count`` products of ``rows`` x ``depth`` scalars and ``depth`` x ``columns`` vectors.

    The sums start at 0, at a vector for each ``row`` or for each sum of the ``tile``, as ``start``
    says. ``steps`` are the numbers from scalars, vectors and starts of a product to those of the
    next. What is up to ``straight`` instructions is no loop.
    """

    rows: int
    depth: int
    columns: int
    start: str
    straight: int
    count: int = 1
    steps: tuple[int, int, int] = (0, 0, 0)

    @staticmethod
    def of(groups: Sequence[str | None]) -> Blocks:
        """What ``PATTERN`` has matched."""
        form = str(groups[3])
        numbers = (int(n or 0) for n in (*groups[:3], *groups[4:]))
        rows, depth, columns, straight, count, scalars, vectors, start = numbers
        return Blocks(rows, depth, columns, form, straight, count or 1, (scalars, vectors, start))

    @property
    def pointers(self) -> tuple[str, ...]:
        """The operands of the assembly."""
        start = () if self.start == "none" else ("start",)
        return ("out", "scalars", "vectors", *start)

    @property
    def _step(self) -> dict[str, int]:
        """Numbers from a product to the next."""
        return dict(zip(self.pointers, (self.rows * self.columns, *self.steps), strict=False))

    def sums(self, row: int, column: int) -> dict[str, int]:
        """Bytes that sums are away from the first, and what they start at."""
        step = {"none": 0, "row": column, "tile": row * self.columns + column}[self.start]
        return {"out": 4 * (row * self.columns + column), "start": 4 * step}

    def lines(self, block: Callable[[Instructions, Places], None]) -> list[str]:
        """The assembly of all products, of which ``block`` writes one."""
        code = Instructions()
        step = {pointer: 4 * step for pointer, step in self._step.items()}
        start = dict.fromkeys(step, 0)
        code.repeat(self.count, start, step, self.straight, lambda at: block(code, at))
        return code.lines

    def definition(self, name: str, lines: Sequence[str], operands: tuple[str, str]) -> str:
        """The C of a helper; ``operands`` are the factors in row r and column c at step k."""
        return "\n".join(self._definition(name, lines, operands)) + "\n"

    def _definition(
        self, name: str, lines: Sequence[str], operands: tuple[str, str]
    ) -> Iterator[str]:
        times = f", {self.count} times" if self.count > 1 else ""
        yield f"// {self.rows} x {self.columns} sums of {self.depth} products{times}."
        yield "static inline __attribute__((always_inline)) void"
        start = "" if self.start == "none" else ", const float *start"
        yield f"{name}(float *out, const float *scalars, const float *vectors{start}) {{"
        yield "#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)"
        yield from inline_assembly(lines, dict.fromkeys(self.pointers, "float *"))
        yield "#else"
        yield from self._plain(operands)
        yield "#endif"
        yield "}"

    def _plain(self, operands: tuple[str, str]) -> Iterator[str]:
        size = self.rows, self.columns, self.depth
        sums = plain_sums(size, self.columns, self.start, operands)
        if self.count == 1:
            yield from sums
            return
        yield f"  for (int32_t block = 0; block < {self.count}; ++block) {{"
        yield from (f"  {line}" for line in sums)
        yield from (f"    {pointer} += {step};" for pointer, step in self._step.items() if step)
        yield "  }"
