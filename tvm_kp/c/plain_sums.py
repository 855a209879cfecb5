"""The C of a tile of sums of products of floats, for compilers that do not know the assembly."""

from __future__ import annotations

from collections.abc import Iterator


def plain_sums(
    size: tuple[int, int, int], stride: int, start: str, operands: tuple[str, str]
) -> Iterator[str]:
    """Rows, columns and depth of ``size``; rows of the result are ``stride`` apart.

    Sums start at 0, at a vector for each ``row``, or at one for each sum of the ``tile``.
    ``operands`` are the factors in row r and column c at step k.
    """
    rows, columns, depth = size
    place = f"r * {stride} + c"
    first = {"none": "0.0f", "row": "start[c]", "tile": f"start[{place}]"}[start]
    yield f"  for (int32_t r = 0; r < {rows}; ++r) {{"
    yield f"    for (int32_t c = 0; c < {columns}; ++c) {{"
    yield f"      float sum = {first};"
    yield f"      for (int32_t k = 0; k < {depth}; ++k) {{"
    yield f"        sum += {' * '.join(operands)};"
    yield "      }"
    yield f"      out[{place}] = sum;"
    yield "    }"
    yield "  }"
