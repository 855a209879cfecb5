"""C helpers that compute dot products of integers tile by tile, with MVE, and requantize them.

``kp_dots<rows>x<columns>_<blocks>x<lanes>_<bits>[_tail<n>][_kept][_gathered]_<trip>_<start>_
<factor>_<bits>[_left<n>][_apart][_rest]`` says how large a tile is, how many products a sum has,
how wide the activations are, how many numbers the last block of them has if it is not full, whether
they are kept in vectors for all tiles, and gathered, how many tiles one trip around the loop
computes, where sums start (at none, a number for each row or one for each sum of the tile), what
they are multiplied by (one number for all, one for each row or sum), what they become, whether rows
of the result are apart, and whether the last tile may lack rows. Weights lie tile by tile, in
blocks of ``lanes`` neighbors of every row; those of a column of activations are neighbors.
"""

from __future__ import annotations

import re

from tvm_kp.c.column_helpers import COLUMNS
from tvm_kp.c.dot_assembly import DotTile, Requantization
from tvm_kp.c.dots import Dots
from tvm_kp.c.kept_dots import KeptDots

_NAME = re.compile(
    r"kp_dots([48])x([12])_(\d+)x(4|8|16)_(8|16)(?:_tail(\d+))?(_kept)?(_gathered)?_([124])"
    r"_(none|row|tile)_(one|row|tile)_(8|16)(?:_left(\d+))?(_apart)?(_rest)?"
)


def is_dots(name: str) -> bool:
    """Whether ``definition`` knows the helper ``name``."""
    return name in COLUMNS or _NAME.fullmatch(name) is not None


def needs(name: str) -> tuple[str, ...]:
    """The helpers that the helper ``name`` calls."""
    match = _NAME.fullmatch(name)
    if match is None:
        return ()
    before = (f"kp_saturate{32 - int(match[13])}",) if match[13] else ()
    return ("kp_multiply_high", f"kp_saturate{match[12]}", *before)


def definition(name: str) -> str:
    """The C of a helper."""
    match = _NAME.fullmatch(name)
    if match is None:
        return COLUMNS[name]
    rows, columns, blocks, lanes, bits = (int(size) for size in match.groups()[:5])
    tail, kept, gathered = int(match[6] or 0), bool(match[7]), bool(match[8])
    tile = DotTile(rows, columns, blocks, lanes, bits, match[10], tail, kept, gathered)
    left, apart, rest = int(match[13] or 0), bool(match[14]), bool(match[15])
    requantization = Requantization(tile, match[11], int(match[12]), left, apart, rest)
    kind = KeptDots if tile.kept else Dots
    return "\n".join(kind(name, tile, requantization, int(match[9])).lines()) + "\n"
