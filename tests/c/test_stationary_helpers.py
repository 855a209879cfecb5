"""Helpers whose vectors stay in registers please strict compilers, and take what was counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tvm_kp.c.float_blocks import Blocks
from tvm_kp.c.stationary_assembly import Columns
from tvm_kp.c.support import helpers, is_helper

NAMES = [
    "kp_stationary_11x4x14_tile_144_2_44_56_154",
    "kp_stationary_12x12x15_none_72",
    "kp_stationary_2x16x133_row_512_3_0_2128_133",
    "kp_stationary_8x1x300_tile_144",
    "kp_stationary_9x10x3_tile_144",
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
    few, many = (Columns(Blocks(rows, depth, 4, start, 1000)) for rows in (4, 6))
    assert len(many.lines) - len(few.lines) == expected


@pytest.mark.parametrize("columns", [1, 4, 5, 8, 14])
@pytest.mark.parametrize("depth", range(1, 20))
def test_every_step_of_every_row_is_added_once(
    depth: int, columns: int, executed: Callable[..., list]
) -> None:
    for rows in (2, 3, 8, 13):
        for straight in (20, 72, 512):
            panel = Columns(Blocks(rows, depth, columns, "tile", straight))
            lines = [line for line, *_ in executed(panel.lines)]
            vectors = -(-columns // 4)
            assert sum(line.startswith("vfma") for line in lines) == vectors * rows * depth
            loads = sum("%[vectors]" in line and line.startswith("vld") for line in lines)
            assert loads == vectors * depth
