"""Helpers of dot products please strict compilers, and are the instructions that were counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tvm import tirx

from tvm_kp.c.dot_assembly import DotAssembly
from tvm_kp.c.dot_panel import parse_panel
from tvm_kp.c.functions import written_buffers
from tvm_kp.c.in_place import may_overwrite
from tvm_kp.c.support import helpers, is_helper

NAMES = [
    "kp_dots16x1_8x1_128x8_1x1_row_number_x16_0_1_out16_1_0",
    "kp_dots13x1_8x1_112x16_1x1_none_row_x8_112_1_out8_1_0",
    "kp_dots12x1_4x1_118x8_1x1_row_number_x16_0_1_out16_1_0",
    "kp_dots7x2_4x2_16x8_1x1_tile_tile_x8_padded_kept_16_1_out16_left3_2_1",
    "kp_dots30x9_4x2_8x8_2x4_tile_one_x16_kept_8_1_out16_1_30_blocks4x1_256_72_270_320_1",
    "kp_dots9x3_4x2_41x8_1x1_row_row_x16_padded_48_1_out8_3_1",
    "kp_dots9x3_4x2_300x8_1x1_none_tile_x16_300_1_out16_1_9",
    "kp_dots14x11_2x4_4x4_4x1_tile_one_x16_kept_4_1_out16_1_14_blocks2x1_56_44_154_168_1",
    "kp_dots15x7_2x4_11x16_4x1_none_row_x8_kept_gathered_1_7_out16_left2_7_1",
    "kp_dots20x5_4x2_15x8_4x2_row_one_x16_kept_gathered_1_5_out16_5_1",
    "kp_dots9x1_8x1_17x8_1x1_none_number_x16_padded_24_1_out8_1_0",
]


def use(k: int, name: str) -> str:
    """A function that calls the helper ``name``."""
    panel = parse_panel(name)
    out, x = f"int{panel.out_bits}_t *out", f"const int{panel.bits}_t *x"
    start = ["n"] if panel.start != "none" else []
    args = ["out", "w", "x", *start, "n[0]" if panel.factor == "number" else "n"]
    prototype = f"void use{k}({out}, const int8_t *w, {x}, const int32_t *n)"
    return f"{prototype};\n{prototype} {{ {name}({', '.join(args)}); }}\n"


@pytest.mark.parametrize("target", ["host", "mps2-an386", "mps3-an547"])
def test_strict_compilers_take_them(target: str, compile_strictly: Callable[..., None]) -> None:
    columns = ["kp_columns8x8", "kp_columns8x16", "kp_columns16x8"]
    assert all(map(is_helper, [*NAMES, *columns]))
    text = "#include <stdint.h>\n" + helpers([*NAMES, *columns])
    compile_strictly({"m.c": text + "".join(use(k, name) for k, name in enumerate(NAMES))}, target)


def lines_of(name: str) -> list[str]:
    return DotAssembly(parse_panel(name)).lines


def verbs(name: str) -> list[str]:
    return [line.split()[0] for line in lines_of(name)]


@pytest.mark.parametrize(("size", "expected"), [("8x1_8x1", 17), ("4x1_4x1", 9), ("4x2_4x2", 14)])
def test_instructions_for_a_group(size: str, expected: int) -> None:
    for lanes, bits in ((8, 16), (16, 8), (8, 8)):
        one, six = (
            len(lines_of(f"kp_dots{size}_{n * lanes}x{lanes}_1x1_none_number_x{bits}_9_1_out8_1_4"))
            for n in (1, 6)
        )
        assert six - one == 5 * expected


@pytest.mark.parametrize("start", ["none", "row", "tile"])
def test_every_group_is_added(start: str) -> None:
    for groups in range(1, 60):
        lines = lines_of(f"kp_dots4x2_4x2_{8 * groups}x8_1x1_{start}_number_x16_8_1_out16_1_4")
        times, inside, products = 1, False, 0
        for line in lines:
            inside = inside or line == "1:"
            times = int(line.split("#")[1]) if line.startswith("movw r") else times
            products += (times if inside else 1) * line.startswith("vmladav")
            inside = inside and line != "bne 1b"
        assert products == 8 * groups


def test_activations_that_are_kept_are_loaded_once() -> None:
    kept = verbs("kp_dots16x2_4x2_16x8_4x1_none_number_x16_kept_16_1_out16_1_16")
    assert kept.count("vldrh.u16") == 4 and kept.count("vldrb.s16") == 4 * 4 * 2


def test_two_products_at_the_end_are_added_to_vectors_of_sums() -> None:
    name = "kp_dots4x2_4x2_{}x8_1x1_none_number_x16_{}_1_out16_1_4"
    found = {depth: verbs(name.format(depth, depth)) for depth in (16, 17, 18, 19)}
    assert [each.count("vmla.s32") for each in found.values()] == [0, 2, 4, 0]
    assert [each.count("vmladava.s16") for each in found.values()] == [8, 8, 8, 16]


def test_only_sums_that_are_there_are_computed() -> None:
    whole, lacking = (
        verbs(f"kp_dots{rows}x1_8x1_8x8_2x1_none_number_x16_8_1_out16_1_0") for rows in (16, 11)
    )
    assert whole.count("vmladav.s16") == 16 and lacking.count("vmladav.s16") == 11
    assert whole.count("vmsr") == 0 and lacking.count("vmsr") == 1
    assert whole.count("vstrh.32") == 4
    assert (lacking.count("vstrh.32"), lacking.count("vstrht.32")) == (2, 1)


def test_squares_of_sums_take_no_more_places_for_odd_rows() -> None:
    name = "kp_dots3x4_2x4_4x4_1x1_none_number_x16_kept_4_1_out16_1_3"
    assert [line for line in lines_of(name) if "vmsr" in line or line.startswith("movw r0, #38")]
    assert verbs(name).count("vstrht.32") == 2


def test_a_helper_brings_what_it_calls() -> None:
    text = helpers(["kp_dots7x2_4x2_16x8_1x1_tile_tile_x8_padded_kept_16_1_out16_left3_2_1"])
    for name in ("kp_multiply_high", "kp_saturate16", "kp_saturate29"):
        assert f"int32_t {name}(" in text
    assert not is_helper("kp_dots4x4_4x4_16x8_1x1_none_number_x16_8_1_out16_1_4")


def test_helpers_write_to_their_first_argument() -> None:
    out, w, x = (tirx.decl_buffer((8,), "int16", name) for name in ("out", "w", "x"))
    for name in ("kp_dots4x1_4x1_8x8_1x1_none_number_x16_8_1_out16_1_0", "kp_columns16x8"):
        pointers = [tirx.address_of(tirx.BufferLoad(buffer, [0])) for buffer in (out, w, x)]
        call = tirx.Evaluate(tirx.call_extern("int32", name, *pointers))
        function = tirx.PrimFunc([out, w, x], call)
        assert written_buffers(function) == {function.params[0]}
        assert not may_overwrite(function, 2, 0)
