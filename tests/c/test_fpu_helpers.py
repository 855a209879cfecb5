"""Helpers of sums please strict compilers, and are the instructions that were counted."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx

from tvm_kp.c.fpu_assembly import FpuTile
from tvm_kp.c.functions import written_buffers
from tvm_kp.c.in_place import may_overwrite
from tvm_kp.c.support import helpers, is_helper

NAMES = [
    "kp_sums1x8_128x472_vectors8_row_8_2_1",
    "kp_sums4x4_17x4_scalars4_none_2_2_2",
    "kp_sums3x4_16x4_scalars4_none_2_2_2",
    "kp_sums2x5_12x15_vectors6_tile_4_2_1",
    "kp_sums3x3_9x5000_none0_tile_2_1_2",
    "kp_sums1x1_1x1_none0_row_1_1_1",
]
USE = """\
void use{k}(float *out, const float *a, const float *b, const float *start);
void use{k}(float *out, const float *a, const float *b, const float *start) {{
  (void)start;
  for (int32_t column = 0; column < 9; ++column) {{
    {name}(&out[column * 8], a, &b[column * 8]{start});
  }}
}}
"""


def text() -> str:
    """A function for each of ``NAMES``."""
    result = "#include <stdint.h>\n" + helpers(NAMES)
    for k, name in enumerate(NAMES):
        start = "" if re.search(r"\d_none_", name) else ", &start[column]"
        result += USE.format(k=k, name=name, start=start)
    return result


@pytest.mark.parametrize("target", ["host", "mps2-an386", "mps3-an547"])
def test_strict_compilers_take_them(target: str, compile_strictly: Callable[..., None]) -> None:
    assert all(map(is_helper, NAMES))
    compile_strictly({"m.c": text()}, target)


@pytest.mark.parametrize("flags", ["-O0", "-Os -fPIC -fno-omit-frame-pointer"])
def test_there_are_registers_for_all_pointers(flags: str, tmp_path: Path) -> None:
    (tmp_path / "m.c").write_text(text())
    core = "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16"
    command = f"arm-none-eabi-gcc {core} {flags} -c m.c -o m.o"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_instructions_of_a_trip() -> None:
    """64 multiply-accumulates, four loads of weights, one of activations, and the loop."""
    tile = FpuTile(1, 8, 128, 472, "vectors", 8, "row", 8, 2, 1)
    trip = tile.lines[tile.lines.index("1:") + 1 : -1]
    assert len(trip) == 64 + 4 + 1 + 2
    assert tile.registers == 32


@st.composite
def tiles(draw: st.DrawFn) -> FpuTile:
    size = st.integers(1, 4)
    rows, columns, steps, times = (draw(size) for _ in range(4))
    weights = draw(st.sampled_from(["scalars", "vectors", "none"]))
    packed = {"scalars": rows, "vectors": columns, "none": 0}[weights]
    loads = (steps, steps * times) if draw(st.booleans()) else (steps * times, steps)
    if weights != "vectors":
        loads = loads[0], 1
    start = draw(st.sampled_from(["none", "row", "tile"]))
    depth, unroll = draw(st.integers(1, 60)), draw(st.sampled_from([1, 2, 4]))
    return FpuTile(rows, columns, depth, columns + 1, weights, packed, start, *loads, unroll)


@given(tiles())
def test_every_product_is_added_and_no_sum_waits(tile: FpuTile) -> None:
    before, times = tile.looped
    lines = tile.lines
    loop = lines.index("1:") if times else len(lines)
    found = [re.match(r"v(?:fma|mul)\.f32 (s\d+),", line) for line in lines]
    added = [(k, match[1]) for k, match in enumerate(found) if match]
    sums = tile.rows * tile.columns
    steps = sum(k < loop for k, _ in added) + times * sum(k > loop for k, _ in added)
    assert steps == sums * tile.depth
    for one in range(0, len(added), sums):
        assert len({name for _, name in added[one : one + sums]}) == sums
    assert before + (len(added) // sums - before) * times == tile.depth


def test_helpers_write_to_their_first_argument() -> None:
    params = [tirx.decl_buffer((8,), "float32", name) for name in ("out", "a", "b")]
    pointers = [tirx.address_of(tirx.BufferLoad(buffer, [0])) for buffer in params]
    call = tirx.Evaluate(tirx.call_extern("int32", NAMES[1], *pointers))
    function = tirx.PrimFunc(params, call)
    assert written_buffers(function) == {function.params[0]}
    assert not may_overwrite(function, 2, 0)
