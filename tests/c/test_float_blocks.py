"""Names of helpers say what they compute, and their C what registers they change."""

from __future__ import annotations

import re

from tvm_kp.c.float_blocks import PATTERN, Blocks


def test_names_are_read() -> None:
    one, several = (
        re.fullmatch(PATTERN, name) for name in ("20x17x4_none_144", "2x8x59_tile_72_4_16_0_118")
    )
    assert one is not None and several is not None
    assert Blocks.of(one.groups()) == Blocks(20, 17, 4, "none", 144)
    assert Blocks.of(several.groups()) == Blocks(2, 8, 59, "tile", 72, 4, (16, 0, 118))


def test_blocks_begin_where_their_operands_do() -> None:
    places: list[dict[str, int]] = []
    blocks = Blocks(2, 8, 59, "row", 72, 3, (16, 0, 59))
    blocks.lines(lambda _, at: places.append(dict(at)))
    assert places[-1] == {"out": 944, "scalars": 128, "vectors": 0, "start": 472}
    assert blocks.pointers == ("out", "scalars", "vectors", "start")
    assert Blocks(2, 8, 59, "none", 72).pointers == ("out", "scalars", "vectors")


def test_assembly_is_for_mve() -> None:
    text = Blocks(1, 2, 4, "row", 72).definition("kp_one", ["vmov q0, q7"], ("1", "2"))
    assert text.index("__ARM_FEATURE_MVE") < text.index("vmov q0, q7") < text.index("#else")
    assert '[start] "+r"(start)' in text and '"q0", "q7"' in text
