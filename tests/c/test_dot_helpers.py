"""Helpers of dot products please strict compilers, and are the instructions that were counted."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from tvm import tirx

from tvm_kp.c.dot_assembly import DotTile, Requantization
from tvm_kp.c.functions import written_buffers
from tvm_kp.c.in_place import may_overwrite
from tvm_kp.c.support import helpers, is_helper

NAMES = [
    "kp_dots8x1_16x8_16_1_row_one_16",
    "kp_dots8x1_7x16_8_2_none_row_8_rest",
    "kp_dots4x1_2x8_8_4_tile_tile_16_left3_apart_rest",
    "kp_dots4x2_1x8_16_1_tile_one_16_rest",
    "kp_dots4x2_2x16_8_2_row_row_8_apart",
    "kp_dots4x2_9x8_16_4_none_tile_16",
    "kp_dots4x2_1x8_16_kept_1_tile_one_16_rest",
    "kp_dots4x2_2x8_16_kept_2_row_one_8_left2_apart",
    "kp_dots4x2_2x16_8_kept_4_none_tile_16_rest",
    "kp_dots4x1_4x8_8_kept_1_row_row_16",
    "kp_dots4x2_1x4_16_kept_1_tile_one_16",
    "kp_dots4x1_2x8_16_tail3_kept_gathered_2_row_one_16_apart_rest",
    "kp_dots4x2_1x4_8_tail3_kept_gathered_1_none_row_8",
    "kp_dots4x2_1x16_8_tail9_kept_1_none_one_16",
    "kp_dots8x1_15x8_16_tail6_1_none_one_16",
    "kp_dots4x2_1x16_8_tail1_1_row_one_16",
]
CALL = """\
void use{k}(int{bits}_t *out, const int8_t *w, const int{wide}_t *x, const int32_t *n);
void use{k}(int{bits}_t *out, const int8_t *w, const int{wide}_t *x, const int32_t *n) {{
  {name}({args});
}}
"""


def use(k: int, name: str) -> str:
    """A function that calls the helper ``name``."""
    parts = re.sub(r"_tail\d+|_kept|_gathered", "", name.removeprefix("kp_dots")).split("_")
    size, _, wide, _, start, factor, bits = parts[:7]
    args = ["out", "w", "x", *(["n", "4"] if start != "none" else [])]
    args += [*(["n[0]"] if factor == "one" else ["n", "4"]), "7", "1"]
    args += ["16", "7"] if size.endswith("x2") else []
    args += ["3"] if "_gathered" in name else []
    return CALL.format(k=k, name=name, bits=bits, wide=wide, args=", ".join(args))


@pytest.mark.parametrize("target", ["host", "mps2-an386", "mps3-an547"])
def test_strict_compilers_take_them(target: str, compile_strictly: Callable[..., None]) -> None:
    columns = ["kp_columns8x8", "kp_columns8x16", "kp_columns16x8"]
    assert all(map(is_helper, [*NAMES, *columns]))
    text = "#include <stdint.h>\n" + helpers([*NAMES, *columns])
    compile_strictly({"m.c": text + "".join(use(k, name) for k, name in enumerate(NAMES))}, target)


@pytest.mark.parametrize(("rows", "columns", "expected"), [(8, 1, 17), (4, 1, 9), (4, 2, 14)])
def test_instructions_for_a_block(rows: int, columns: int, expected: int) -> None:
    for lanes, bits in ((8, 16), (16, 8), (8, 8)):
        for blocks in (1, 6):
            tile = DotTile(rows, columns, blocks, lanes, bits, "none")
            assert len(tile.lines) == blocks * expected


@pytest.mark.parametrize("start", ["none", "row", "tile"])
def test_every_block_is_added(start: str) -> None:
    for blocks in range(1, 60):
        tile = DotTile(4, 2, blocks, 8, 16, start)
        before, times, unroll = tile.looped
        assert before + times * unroll == blocks
        products = sum(line.startswith("vmladav") for line in tile.lines)
        assert products == 8 * (before + (unroll if times else 0))


def test_activations_that_are_kept_are_not_loaded_again() -> None:
    tile = DotTile(4, 2, 2, 8, 16, "none", kept=True)
    assert len(tile.lines) == 2 * 12 and not any("vldrh" in line for line in tile.lines)


def test_only_stores_of_the_last_rows_are_predicated() -> None:
    def stores(rows: int, columns: int) -> list[str]:
        tile = DotTile(rows, columns, 1, 8, 16, "none")
        after = Requantization(tile, "one", 16, left=0, apart=False, rest=True)
        return [line.split()[0] for line in after.lines()][-4:]

    assert stores(8, 1) == ["vstrh.32", "vctp.32", "vpst", "vstrht.32"]
    assert stores(4, 2) == ["vctp.32", "vpstt", "vstrht.32", "vstrht.32"]


def test_a_helper_brings_what_it_calls() -> None:
    text = helpers(["kp_dots4x1_2x8_8_1_tile_tile_16_left3_apart_rest"])
    for name in ("kp_multiply_high", "kp_saturate16", "kp_saturate29"):
        assert f"int32_t {name}(" in text
    assert not is_helper("kp_dots4x4_2x8_8_1_none_one_16")


def test_helpers_write_to_their_first_argument() -> None:
    out, w, x = (tirx.decl_buffer((8,), "int16", name) for name in ("out", "w", "x"))
    for name in ("kp_dots4x1_1x8_16_none_one_16", "kp_columns16x8"):
        pointers = [tirx.address_of(tirx.BufferLoad(buffer, [0])) for buffer in (out, w, x)]
        call = tirx.Evaluate(tirx.call_extern("int32", name, *pointers))
        function = tirx.PrimFunc([out, w, x], call)
        assert written_buffers(function) == {function.params[0]}
        assert not may_overwrite(function, 2, 0)
