"""Helpers whose vectors stay in registers please strict compilers, and take what was counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tvm_kp.c.stationary_assembly import Panel
from tvm_kp.c.support import helpers, is_helper

NAMES = [
    "kp_stationary11x14_4x14_tile_2",
    "kp_stationary12x15_12x15_none_2",
    "kp_stationary2x5_16x133_row_1",
    "kp_stationary8x4_1x300_tile_1",
]
USE = """\
void use{k}(float *out, const float *scalars, const float *vectors, const float *start);
void use{k}(float *out, const float *scalars, const float *vectors, const float *start) {{
  (void)start;
  for (int32_t k = 0; k < 9; ++k) {{
    {name}(&out[k * 8], &scalars[k * 8], vectors{start});
  }}
}}
"""


@pytest.mark.parametrize("target", ["host", "mps3-an547"])
def test_strict_compilers_take_them(target: str, compile_strictly: Callable[..., None]) -> None:
    assert all(map(is_helper, NAMES))
    text = "#include <stdint.h>\n" + helpers(NAMES)
    for k, name in enumerate(NAMES):
        text += USE.format(k=k, name=name, start="" if "none" in name else ", &start[k]")
    compile_strictly({"m.c": text}, target)


@pytest.mark.parametrize(
    ("depth", "start", "expected"),
    # Of two rows: multiplications, stores, loads of scalars, and of what sums start at.
    [(4, "none", 11), (4, "tile", 13), (7, "none", 18), (7, "row", 20), (12, "none", 38)],
)
def test_instructions_for_two_rows_more(depth: int, start: str, expected: int) -> None:
    few, many = (Panel(rows, 4, depth, 4, start, 8) for rows in (4, 6))
    assert len(many.lines) - len(few.lines) == expected


@pytest.mark.parametrize("live", [4, 5, 8, 14])
@pytest.mark.parametrize("depth", range(1, 20))
def test_every_step_of_every_row_is_added_once(depth: int, live: int) -> None:
    columns = -(-live // 4)
    for rows in (2, 3, 8, 13):
        for unroll in (1, 2, 4):
            panel = Panel(rows, live, depth, live, "tile", unroll)
            around = 1
            added = 0
            for line in panel.lines:
                around = panel.times if line == "1:" else 1 if line.startswith("le ") else around
                added += around * line.startswith("vfma")
            assert added == columns * rows * depth
            assert sum(line.startswith("vldrw.u32 q0, [%[vectors]") for line in panel.lines) == (
                columns * len(panel.passes)
            )
