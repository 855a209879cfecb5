"""Panels of dot products of integers: what a helper computes, and where it lies in memory.

``kp_dots<rows>x<columns>_<height>x<width>_<depth>x<lanes>_<trip>x<across>_<start>_<factor>_x<bits>
[_padded][_kept][_gathered][_rows]_<column>_<step>_out<bits>[_left<n>]_<row>_<column>[_blocks<n>x
<together>_<w>_<x>_<out>_<start>_<factor>]`` says how many rows and columns a panel has, and a tile
of it; how many products a sum has, and an instruction; how many tiles, and columns of tiles, are
written out in a loop; where sums start (at none, a number for each row or one for each sum of the
``tile``) and what they are multiplied by (a ``number``, ``one`` in memory, one for each row or
sum); how wide activations are, whether zeros fill their last group, whether they are kept in
vectors for all tiles of a column, and gathered, and how far apart columns of them are, and numbers
in a column; what sums become, and how far apart rows and columns of results are. There may be
several blocks of such products, of which some are written out together; what follows is how far
apart blocks of each operand are. Weights lie in groups of ``lanes`` neighbors of every row, tile by
tile; or all rows of a group before the next, where it says ``rows``, zeros for up to three behind
them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(
    r"kp_dots(\d+)x(\d+)_(?=8x1|4x1|4x2|2x4)(\d)x(\d)_(\d+)x(4|8|16)_(\d+)x(\d+)_(none|row|tile)"
    r"_(number|one|row|tile)_x(8|16)(_padded)?(_kept)?(_gathered)?(_rows)?_(\d+)_(\d+)"
    r"_out(8|16)(?:_left(\d+))?_(\d+)_(\d+)(?:_blocks(\d+)x(\d+)_(\d+)_(\d+)_(\d+)_(\d+)_(\d+))?"
)
_BY_SCALARS = 2  # products behind the last group that are not worth one of their own


@dataclass(frozen=True)
class DotPanel:
    """The sizes and places in the name of a helper; all distances are in numbers."""

    rows: int
    columns: int
    height: int
    width: int
    depth: int
    lanes: int
    trip: int
    across: int
    start: str
    factor: str
    bits: int
    padded: bool
    kept: bool
    gathered: bool
    by_rows: bool
    x_column: int
    x_step: int
    out_bits: int
    left: int
    out_row: int
    out_column: int
    blocks: int
    together: int
    steps: tuple[int, ...]  # of w, x, out, start and factor from block to block

    @property
    def groups(self) -> int:
        """Groups of products along a sum that lie in memory."""
        return -(-self.depth // self.lanes)

    @property
    def scalars(self) -> int:
        """Products at the end of a sum that are added one by one, as vectors of sums."""
        rest = self.depth % self.lanes
        return rest if rest <= _BY_SCALARS and self.depth > self.lanes and not self.kept else 0

    @property
    def dots(self) -> int:
        """Groups of products that are added by dot products."""
        return self.groups - (self.scalars > 0)

    @property
    def tail(self) -> int:
        """Numbers in the last of these groups, 0 if it is full or filled with zeros."""
        return 0 if self.padded or self.scalars else self.depth % self.lanes

    @property
    def scattered(self) -> bool:
        """Whether results that are neighbors in a vector are apart in memory."""
        return self.height == 2 or self.out_row > 1

    @property
    def down(self) -> int:
        """Tiles of a column."""
        return -(-self.rows // self.height)

    @property
    def weights(self) -> tuple[int, int]:
        """Bytes from the weights of a tile to those of the next, and from a group to the next."""
        tile, rows = self.height * self.lanes, -(-self.rows // 4) * 4
        return (tile, rows * self.lanes) if self.by_rows else (tile * self.groups, tile)

    def bytes_of(self, form: str) -> int:
        """How far apart neighboring tiles' biases or factors of a ``form`` are."""
        each = {"row": max(4, self.height), "tile": self.height * self.width}
        return 4 * each.get(form, 0)


def is_panel(name: str) -> bool:
    """Whether a helper is a panel of dot products."""
    return _NAME.fullmatch(name) is not None


def parse_panel(name: str) -> DotPanel:
    """The panel of a helper."""
    match = _NAME.fullmatch(name)
    assert match is not None, name
    rows, columns, height, width, depth, lanes, trip, across = map(int, match.groups()[:8])
    start, factor, bits, padded, kept, gathered, by_rows, column, step = match.groups()[8:17]
    out_bits, left, *numbers = (int(part or 0) for part in match.groups()[17:])
    row, out_column, blocks, together, *steps = numbers
    return DotPanel(
        rows=rows,
        columns=columns,
        height=height,
        width=width,
        depth=depth,
        lanes=lanes,
        trip=trip,
        across=across,
        start=start,
        factor=factor,
        bits=int(bits),
        padded=padded is not None,
        kept=kept is not None,
        gathered=gathered is not None,
        by_rows=by_rows is not None,
        x_column=int(column),
        x_step=int(step),
        out_bits=out_bits,
        left=left,
        out_row=row,
        out_column=out_column,
        blocks=blocks or 1,
        together=together or 1,
        steps=tuple(steps),
    )
