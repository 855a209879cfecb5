"""C helpers that compute panels of dot products of integers, with MVE, and requantize them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tvm_kp.c.column_helpers import COLUMNS
from tvm_kp.c.dot_assembly import DotAssembly
from tvm_kp.c.dot_panel import DotPanel, is_panel, parse_panel
from tvm_kp.c.inline_assembly import inline_assembly


def is_dots(name: str) -> bool:
    """Whether ``definition`` knows the helper ``name``."""
    return name in COLUMNS or is_panel(name)


def needs(name: str) -> tuple[str, ...]:
    """The helpers that the helper ``name`` calls."""
    if not is_panel(name):
        return ()
    panel = parse_panel(name)
    before = (f"kp_saturate{32 - panel.left}",) if panel.left else ()
    return ("kp_multiply_high", f"kp_saturate{panel.out_bits}", *before)


def definition(name: str) -> str:
    """The C of a helper."""
    if name in COLUMNS:
        return COLUMNS[name]
    return "\n".join(_Helper(name, parse_panel(name)).lines()) + "\n"


@dataclass(frozen=True)
class _Helper:
    name: str
    panel: DotPanel

    def lines(self) -> Iterator[str]:
        panel, types = self.panel, self._types
        assembly = DotAssembly(panel)
        yield f"// {panel.rows} x {panel.columns} sums of {panel.depth} products."
        yield "static inline __attribute__((always_inline)) void"
        yield f"{self.name}({', '.join(f'{types[name]} {name}' for name in types)}) {{"
        yield "#if defined(__ARM_FEATURE_MVE)"
        yield from inline_assembly(assembly.lines, types, assembly.pointers)
        yield "#else"
        yield from self._plain()
        yield "#endif"
        yield "}"

    @property
    def _types(self) -> dict[str, str]:
        """The types of the operands by name, in order."""
        panel = self.panel
        types = {
            "out": f"int{panel.out_bits}_t *",
            "w": "const int8_t *",
            "x": f"const int{panel.bits}_t *",
            "start": "const int32_t *",
            "factor": "int32_t" if panel.factor == "number" else "const int32_t *",
        }
        return {n: t for n, t in types.items() if n != "start" or panel.start != "none"}

    def _plain(self) -> Iterator[str]:
        panel = self.panel
        height, lanes = panel.height, panel.lanes
        w, x, out, start, factor = (f"b * {step} + " if step else "" for step in panel.steps)
        yield f"  for (int32_t b = 0; b < {panel.blocks}; ++b) {{"
        yield f"    for (int32_t c = 0; c < {panel.columns}; ++c) {{"
        yield f"      for (int32_t r = 0; r < {panel.rows}; ++r) {{"
        yield f"        int32_t sum = {self._number('start', start, panel.start)};"
        yield f"        for (int32_t k = 0; k < {panel.depth}; ++k) {{"
        tile, group = panel.weights
        weight = f"r / {height} * {tile} + k / {lanes} * {group} + r % {height} * {lanes}"
        weight += f" + k % {lanes}"
        activation = f"c * {panel.x_column} + k * {panel.x_step}"
        yield f"          sum += w[{w}{weight}] * x[{x}{activation}];"
        yield "        }"
        place = f"{out}r * {panel.out_row} + c * {panel.out_column}"
        yield f"        out[{place}] = {self._requantized(factor)};"
        yield from ("      }", "    }", "  }")

    def _requantized(self, block: str) -> str:
        panel, total = self.panel, "sum"
        if panel.left:
            total = f"kp_saturate{32 - panel.left}(sum) * {1 << panel.left}"
        by = "factor" if panel.factor == "number" else self._number("factor", block, panel.factor)
        value = f"kp_saturate{panel.out_bits}(kp_multiply_high({total}, {by}))"
        return f"(int{panel.out_bits}_t){value}"

    def _number(self, name: str, block: str, form: str) -> str:
        """The bias or the factor of a sum."""
        panel = self.panel
        tile = f"(c / {panel.width} * {panel.down} + r / {panel.height})"
        size = panel.height * panel.width
        index = {
            "one": "0",
            "row": "r",
            "tile": f"{tile} * {size} + c % {panel.width} * {panel.height} + r % {panel.height}",
        }
        return "0" if form == "none" else f"{name}[{block}{index[form]}]"
