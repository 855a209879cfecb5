"""Helpers of products please strict compilers, and are the instructions that were counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tvm import tirx

from tvm_kp.c.functions import written_buffers
from tvm_kp.c.in_place import may_overwrite
from tvm_kp.c.product_assembly import Tile
from tvm_kp.c.support import helpers, is_helper

NAMES = [
    "kp_product4x1_60_1_13_row_row_8",
    "kp_product4x1_17_2_33_none_one_16_left3",
    "kp_product2x1_3_1_13_row_one_16",
    "kp_product2x2_4_2_13_tile_one_16",
    "kp_product2x2_5_1_13_row_tile_8",
    "kp_product2x2_9w_2_13_tile_row_16",
    "kp_product2x2_150w_1_13_none_one_16",
    "kp_product2x3_17_2_13_row_tile_16",
    "kp_product2x3_17w_1_33_row_row_8",
    "kp_product4x1_20s_2_13_row_one_16",
    "kp_product2x2_9s_2_13_tile_row_16",
]
CALL = """\
void use{k}(int{bits}_t *out, const int{wide}_t *w, const int16_t *x, const int32_t *n);
void use{k}(int{bits}_t *out, const int{wide}_t *w, const int16_t *x, const int32_t *n) {{
  {name}({args});
}}
"""


def use(k: int, name: str) -> str:
    """A function that calls the helper ``name``."""
    size, _, _, start, factor, bits = name.removeprefix("kp_product").split("_")[1:7]
    several = "x1_" not in name
    args = ["out", "w", "x", *(["n"] if start != "none" else [])]
    args += ["n[0]" if factor == "one" else "n", "3", "2", "1", *(["7", "1"] if several else [])]
    wide = 16 if size.endswith(("w", "s")) else 8
    return CALL.format(k=k, name=name, bits=bits, wide=wide, args=", ".join(args))


@pytest.mark.parametrize("target", ["host", "mps2-an386"])
def test_strict_compilers_take_them(target: str, compile_strictly: Callable[..., None]) -> None:
    assert all(map(is_helper, NAMES))
    text = "#include <stdint.h>\n" + helpers(NAMES)
    compile_strictly({"m.c": text + "".join(use(k, name) for k, name in enumerate(NAMES))}, target)


@pytest.mark.parametrize(
    ("rows", "columns", "wide", "expected"),
    [
        (4, 1, False, 18),
        (4, 1, True, 11),
        (2, 2, False, 14),
        (2, 2, True, 11),
        (2, 3, False, 20),
        (2, 3, True, 16),
    ],
)
def test_instructions_for_two_pairs(rows: int, columns: int, wide: bool, expected: int) -> None:
    two, four = (len(Tile(rows, columns, pairs, wide, wide, "none", 13).lines) for pairs in (2, 4))
    assert (two, four) == (expected, 2 * expected)


@pytest.mark.parametrize("start", ["none", "row"])
def test_every_pair_is_added(start: str) -> None:
    for pairs in range(1, 60):
        tile = Tile(4, 1, pairs, False, False, start, 13)
        before, times, unroll = tile.looped
        assert 2 * (before + times * unroll) + pairs % 2 == pairs
        products = sum("smlad" in line or "smuad" in line for line in tile.lines)
        assert products == 4 * (2 * (before + (unroll if times else 0)) + pairs % 2)
        assert len(tile.lines) <= 10 * 18 + 20


def test_a_helper_brings_what_it_calls() -> None:
    text = helpers(["kp_product4x1_17_1_13_none_one_16_left3"])
    for name in ("kp_multiply_high", "kp_saturate16", "kp_saturate29"):
        assert f"int32_t {name}(" in text
    assert not is_helper("kp_product4x1_17_1_13_none_one_32")


def test_helpers_write_to_their_first_argument() -> None:
    out, w, x = (tirx.decl_buffer((8,), "int16", name) for name in ("out", "w", "x"))
    for name in ("kp_product4x1_1_1_13_none_one_16", "kp_widen", "kp_interleave8", "kp_adjoin3x16"):
        pointers = [tirx.address_of(tirx.BufferLoad(buffer, [0])) for buffer in (out, w, x)]
        call = tirx.Evaluate(tirx.call_extern("int32", name, *pointers))
        function = tirx.PrimFunc([out, w, x], call)
        assert written_buffers(function) == {function.params[0]}
        assert not may_overwrite(function, 2, 0)
