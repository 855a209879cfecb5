"""C helpers that compute products of float matrices as outer products in tiles, with MVE.

``kp_outer<rows>x<vectors>_<scalars|vectors>_…`` says how large a tile is and which operand the
weights are, that were packed for such tiles: see ``outer_assembly``. The rest of the name is that
of ``float_blocks``.
"""

from __future__ import annotations

import re

from tvm_kp.c.float_blocks import PATTERN, Blocks
from tvm_kp.c.instructions import LANES
from tvm_kp.c.outer_assembly import OuterTiles

_NAME = re.compile(r"kp_outer(\d)x(\d)_(scalars|vectors)_" + PATTERN)


def is_outer(name: str) -> bool:
    """Whether ``definition`` knows the helper ``name``."""
    return _NAME.fullmatch(name) is not None


def parse_outer(name: str) -> OuterTiles:
    """The tiles of a helper."""
    match = _NAME.fullmatch(name)
    assert match is not None, name
    return OuterTiles(int(match[1]), int(match[2]), match[3], Blocks.of(match.groups()[3:]))


def definition(name: str) -> str:
    """The C of a helper."""
    tiles = parse_outer(name)
    blocks, rows, columns = tiles.blocks, tiles.rows, LANES * tiles.vectors
    scalars, vectors = f"r * {blocks.depth} + k", f"k * {blocks.columns} + c"
    if tiles.weights == "scalars":
        scalars = f"(r / {rows} * {blocks.depth} + k) * {rows} + r % {rows}"
    else:
        vectors = f"(c / {columns} * {blocks.depth} + k) * {columns} + c % {columns}"
    return blocks.definition(name, tiles.lines, (f"scalars[{scalars}]", f"vectors[{vectors}]"))
