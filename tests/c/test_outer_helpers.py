"""Helpers of outer products please strict compilers, and are the instructions that were counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tvm import tirx

from tvm_kp.c.functions import written_buffers
from tvm_kp.c.in_place import may_overwrite
from tvm_kp.c.outer_assembly import OuterTile
from tvm_kp.c.support import helpers, is_helper

NAMES = [
    "kp_outer1x7_128x472_vectors7_row_1",
    "kp_outer1x3_5x10_vectors7_none_2_tail2",
    "kp_outer3x2_4x8_vectors2_tile_2",
    "kp_outer4x1_85x1_vectors1_tile_1_tail1",
    "kp_outer7x1_17x4_scalars7_none_4",
    "kp_outer4x1_17x300_scalars7_row_1",
    "kp_outer1x6_3x5000_scalars1_tile_1",
    "kp_outer7x1_9x3_scalars7_tile_2_tail3",
]
USE = """\
void use{k}(float *out, const float *w, const float *x, const float *start);
void use{k}(float *out, const float *w, const float *x, const float *start) {{
  (void)start;
  for (int32_t column = 0; column < 9; ++column) {{
    {name}(&out[column * 8], &w[column * 8], x{start});
  }}
}}
"""


@pytest.mark.parametrize("target", ["host", "mps2-an386", "mps3-an547"])
def test_strict_compilers_take_them(target: str, compile_strictly: Callable[..., None]) -> None:
    assert all(map(is_helper, NAMES))
    text = "#include <stdint.h>\n" + helpers(NAMES)
    for k, name in enumerate(NAMES):
        text += USE.format(k=k, name=name, start="" if "none" in name else ", &start[column]")
    compile_strictly({"m.c": text}, target)


@pytest.mark.parametrize(
    ("rows", "vectors", "weights", "expected"),
    [(1, 7, "vectors", 57), (2, 3, "vectors", 40), (3, 2, "vectors", 38), (7, 1, "scalars", 36)],
)
def test_instructions_for_four_steps(rows: int, vectors: int, weights: str, expected: int) -> None:
    packed = rows if weights == "scalars" else vectors
    few, many = (
        OuterTile(rows, vectors, depth, 4 * vectors, weights, packed, "none", unroll=8)
        for depth in (4, 8)
    )
    assert len(many.lines) - len(few.lines) == expected


def test_every_step_is_added() -> None:
    for depth in range(1, 40):
        for unroll in (1, 2, 4):
            tile = OuterTile(1, 2, depth, 8, "vectors", 2, "none", unroll)
            before, times = tile.looped
            assert before + times * tile.group * unroll == depth
            steps = before + (tile.group * unroll if times else 0)
            assert sum("vldrw" in line for line in tile.lines) == 2 * steps


def test_only_the_last_vector_is_predicated() -> None:
    """Of what is not padded."""
    tile = OuterTile(2, 2, 1, 7, "vectors", 2, "tile", 1, tail=3)
    predicated = [
        line.split(",")[0] for line in tile.lines if line.startswith(("vldrwt", "vstrwt"))
    ]
    assert predicated == ["vldrwt.u32 q1", "vldrwt.u32 q3", "vstrwt.32 q1", "vstrwt.32 q3"]
    few = OuterTile(2, 1, 3, 2, "scalars", 2, "none", 1, tail=2)
    assert sum(line.startswith("vldrwt.u32 q2, [%[x]], #8") for line in few.lines) == 3


def test_helpers_write_to_their_first_argument() -> None:
    params = [tirx.decl_buffer((8,), "float32", name) for name in ("out", "w", "x")]
    pointers = [tirx.address_of(tirx.BufferLoad(buffer, [0])) for buffer in params]
    call = tirx.Evaluate(tirx.call_extern("int32", NAMES[0], *pointers))
    function = tirx.PrimFunc(params, call)
    assert written_buffers(function) == {function.params[0]}
    assert not may_overwrite(function, 2, 0)
