"""The C of a helper of dot products that keeps the activations in vectors for all tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from tvm_kp.c.dots import Dots


@dataclass(frozen=True)
class _Register:
    """A core register and what is in it; ``moves`` says whether the assembly changes it."""

    type_: str
    value: str
    register: str
    moves: bool = False


@dataclass(frozen=True)
class KeptDots(Dots):
    """Tiles have four rows. One block of assembly multiplies and requantizes."""

    def _before(self) -> Iterator[str]:
        yield from self._vectors()
        if self.tile.gathered:
            bits = 128 // self.tile.lanes
            steps = ", ".join(f"(int{bits}_t)({k} * x_step)" for k in range(self.tile.lanes))
            yield f"  typedef int{bits}_t offsets __attribute__((vector_size(16)));"
            yield f"  const offsets steps = {{{steps}}};"
        if self.after.moves:
            yield "  (void)row_stride;  // It is 1."
        if self.tile.columns == 2:
            yield f"  int{self.after.bits}_t *out1 = out + column_stride;"
        yield from (line for name in self._kept for line in self._load(*name))

    def _next(self) -> Iterator[str]:
        yield from self._advance(result=not self.after.moves)
        if self.tile.columns == 2 and not self.after.moves:
            yield "    out1 += 4 * row_stride;"

    @property
    def _kept(self) -> tuple[tuple[int, int], ...]:
        """Column and block of every vector of activations."""
        return tuple(product(range(self.tile.columns), range(self.tile.blocks)))

    def _load(self, column: int, block: int) -> Iterator[str]:
        tile, name, pointer = self.tile, f"x{column}_{block}", self._pointers[f"x{column}"][0]
        inputs = [f'[x{column}] "l"({pointer})']
        if tile.gathered:
            pointer += f" + {tile.lanes * block} * x_step" if block else ""
            inputs = [f'[x{column}] "r"({pointer})', '[steps] "w"(steps)']
        inputs += [f'[tail] "r"({tile.tail})'] if tile.tail else []
        yield f"  vector {name};"
        yield "  __asm__ volatile("
        yield from (f'      "{line}\\n\\t"' for line in tile.keep(column, block))
        yield f'      : [{name}] "=&w"({name}) : {", ".join(inputs)} : "memory");'

    @property
    def _registers(self) -> dict[str, _Register]:
        """The operands in core registers, but for the sums."""
        tile, after = self.tile, self.after
        pointer = f"int{after.bits}_t *"
        found = {
            "w": _Register("const int8_t *", "w", "r1", moves=True),
            "out": _Register(pointer, "out", "r3", after.moves),
        }
        if tile.columns == 2:
            found["out1"] = _Register(pointer, "out1", "r5", after.moves)
        if tile.start != "none":
            found["start"] = _Register("const int32_t *", "start", "lr", moves=True)
        if after.factor != "one":
            found["factor"] = _Register("const int32_t *", "factor", "r9")
        if after.rest:
            found["rows"] = _Register("int32_t ", "rows", "r11")
        return found

    def _tile(self) -> Iterator[str]:
        tile, after, registers = self.tile, self.after, self._registers
        free = tile.free[:2] if after.factor == "one" else tile.free[:3]
        names = [name.removeprefix("%q[").removesuffix("]") for name in free]
        yield f"    vector {', '.join(names)};"
        for name, one in registers.items():
            yield f'    register {one.type_}moved_{name} __asm__("{one.register}") = {one.value};'
        symbols = {name: "out0" if name == "out" else name for name in registers}
        results = [f'[{name}] "=&w"({name})' for name in names]
        inputs = [f'[x{c}_{b}] "w"(x{c}_{b})' for c, b in self._kept]
        inputs += [f'[{name}] "w"({name})' for name in self._same]
        for name, one in registers.items():
            if one.moves:
                results.append(f'[{symbols[name]}] "+&r"(moved_{name})')
            else:
                inputs.append(f'[{symbols[name]}] "r"(moved_{name})')
        changed = ", ".join(f'"{name}"' for name in (*tile.clobbered, "cc", "memory"))
        yield "    __asm__ volatile("
        yield from (f'        "{line}\\n\\t"' for line in (*tile.lines, *after.lines()))
        yield f"        : {', '.join(results)}"
        yield f"        : {', '.join(inputs)}"
        yield f"        : {changed});"
        yield from (
            f"    {name} = moved_{name};"
            for name, one in registers.items()
            if one.moves and name != "start"
        )
