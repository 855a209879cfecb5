"""Helpers of outer products please strict compilers, and are the instructions that were counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tvm import tirx

from tvm_kp.c.float_blocks import Blocks
from tvm_kp.c.functions import written_buffers
from tvm_kp.c.in_place import may_overwrite
from tvm_kp.c.instructions import words
from tvm_kp.c.outer_assembly import OuterTiles
from tvm_kp.c.support import helpers, is_helper

NAMES = [
    "kp_outer1x7_vectors_1x128x472_row_144",
    "kp_outer1x3_vectors_1x5x10_none_144_2_0_60_0",
    "kp_outer3x2_vectors_7x4x309_tile_72_3_28_1248_2163",
    "kp_outer4x1_vectors_4x85x1_tile_144",
    "kp_outer7x1_scalars_20x17x4_none_144",
    "kp_outer7x1_scalars_9x17x300_row_512",
    "kp_outer1x6_scalars_3x3x5000_tile_512",
    "kp_outer7x1_scalars_16x9x3_tile_144",
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


@pytest.mark.parametrize("target", ["host", "mps2-an386", "mps3-an547"])
def test_strict_compilers_take_them(target: str, compile_strictly: Callable[..., None]) -> None:
    assert all(map(is_helper, NAMES))
    text = "#include <stdint.h>\n" + helpers(NAMES)
    for k, name in enumerate(NAMES):
        text += USE.format(k=k, name=name, start="" if "none" in name else ", &start[k]")
    compile_strictly({"m.c": text}, target)


@pytest.mark.parametrize(
    ("rows", "vectors", "weights", "expected"),
    # Of eight steps: multiplications, loads of vectors, and of scalars.
    [
        (1, 7, "vectors", 8 * 14 + 1),
        (2, 3, "vectors", 8 * 9 + 2 * 3),
        (3, 2, "vectors", 8 * 8 + 2 * 5),
        (7, 1, "scalars", 8 * 8 + 7),
        (3, 2, "scalars", 8 * 8 + 4),
    ],
)
def test_instructions_for_eight_steps(rows: int, vectors: int, weights: str, expected: int) -> None:
    few, many = (
        OuterTiles(rows, vectors, weights, Blocks(rows, depth, 4 * vectors, "none", 1000))
        for depth in (8, 16)
    )
    assert len(many.lines) - len(few.lines) == expected


def test_few_columns_are_loaded_and_stored_without_others() -> None:
    for columns, stored in ((1, "{s0}"), (2, "{s0, s1}"), (3, "{s0, s1, s2}")):
        tiles = OuterTiles(2, 1, "scalars", Blocks(2, 3, columns, "none", 1000))
        assert sum(line.startswith("vldmia %[vectors]!, {s8") for line in tiles.lines) == 2
        assert f"vstmia %[out]!, {stored}" in tiles.lines
        assert not any("vldrw" in line or "vstrw" in line for line in tiles.lines)


def test_what_is_long_is_a_loop() -> None:
    """Tiles, strips of them, and blocks; none where that is short."""
    blocks = Blocks(35, 40, 8, "none", 72, 3, (1400, 320, 0))
    lines = OuterTiles(7, 1, "scalars", blocks).lines
    labels = [line for line in lines if line.endswith(":")]
    assert labels == ["4:", "3:", "2:", "1:"]
    assert words(lines) == ["word2", "word3", "word4"]  # for counters of loops around others
    assert len(lines) < 100
    assert not any(
        ":" in line for line in OuterTiles(7, 1, "scalars", Blocks(7, 4, 4, "none", 72)).lines
    )


def test_helpers_write_to_their_first_argument() -> None:
    params = [tirx.decl_buffer((8,), "float32", name) for name in ("out", "w", "x")]
    pointers = [tirx.address_of(tirx.BufferLoad(buffer, [0])) for buffer in params]
    call = tirx.Evaluate(tirx.call_extern("int32", NAMES[0], *pointers))
    function = tirx.PrimFunc(params, call)
    assert written_buffers(function) == {function.params[0]}
    assert not may_overwrite(function, 2, 0)
