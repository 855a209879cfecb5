"""C helpers that compute products of float matrices from vectors that stay in registers, with MVE.

``kp_stationary_…``: the rest of the name is that of ``float_blocks``. Nothing is packed.
"""

from __future__ import annotations

import re

from tvm_kp.c.float_blocks import PATTERN, Blocks
from tvm_kp.c.stationary_assembly import Columns

_NAME = re.compile(r"kp_stationary_" + PATTERN)


def is_stationary(name: str) -> bool:
    """Whether ``definition`` knows the helper ``name``."""
    return _NAME.fullmatch(name) is not None


def parse_stationary(name: str) -> Columns:
    """The columns of a helper."""
    match = _NAME.fullmatch(name)
    assert match is not None, name
    return Columns(Blocks.of(match.groups()))


def definition(name: str) -> str:
    """The C of a helper."""
    columns = parse_stationary(name)
    depth, stride = columns.blocks.depth, columns.blocks.columns
    operands = f"scalars[r * {depth} + k]", f"vectors[k * {stride} + c]"
    return columns.blocks.definition(name, columns.lines, operands)
