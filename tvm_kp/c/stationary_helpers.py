"""C helpers that compute panels of products of float matrices from vectors that stay, with MVE.

``kp_stationary<rows>x<live>_<depth>x<columns>_<start>_<unroll>`` says how many rows and columns are
computed, how many products a sum has and how many columns the result, where sums start (at none, a
vector for each row or for each sum of the tile), and how many groups of rows are written out.
Nothing is packed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tvm_kp.c.pinned import pinned
from tvm_kp.c.plain_sums import plain_sums
from tvm_kp.c.stationary_assembly import Panel

_NAME = re.compile(r"kp_stationary(\d+)x(\d+)_(\d+)x(\d+)_(none|row|tile)_(\d+)")


def is_stationary(name: str) -> bool:
    """Whether ``definition`` knows the helper ``name``."""
    return _NAME.fullmatch(name) is not None


def parse_stationary(name: str) -> Panel:
    """The panel of a helper."""
    match = _NAME.fullmatch(name)
    assert match is not None, name
    rows, live, depth, columns = (int(size) for size in match.groups()[:4])
    return Panel(rows, live, depth, columns, match[5], int(match[6]))


def definition(name: str) -> str:
    """The C of a helper."""
    return "\n".join(_lines(name, parse_stationary(name))) + "\n"


def _lines(name: str, panel: Panel) -> Iterator[str]:
    start = "" if panel.start == "none" else ", const float *start"
    yield f"// A panel of {panel.rows} x {panel.live} sums of {panel.depth} products."
    yield "static inline __attribute__((always_inline)) void"
    yield f"{name}(float *out, const float *scalars, const float *vectors{start}) {{"
    yield "#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)"
    yield from pinned(panel)
    yield "#else"
    operands = f"scalars[r * {panel.depth} + k]", f"vectors[k * {panel.columns} + c]"
    size = panel.rows, panel.live, panel.depth
    yield from plain_sums(size, panel.columns, panel.start, operands)
    yield "#endif"
    yield "}"
