"""How products become tiles of dot products."""

from __future__ import annotations

import json

import pytest
from tvm import tirx

from tvm_kp.kernel.dot_tiles import DotTiles, dot_tiles_of, packed_blocks
from tvm_kp.kernel.integer_product import ATTRIBUTE, find_integer_product
from tvm_kp.kernel.product_tiles import packed_numbers
from tvm_kp.kernel.space import Choose


def tiles(rows: int, columns: int, depth: int, dtype: str = "int16") -> DotTiles:
    """Of activations (columns, depth), weights (depth, rows) and a factor for each row."""
    shapes = (columns, depth), (depth, rows), (rows,), (columns, rows)
    dtypes = dtype, "int8", "int32", "int16"
    params = [
        tirx.decl_buffer(*one, f"p{k}") for k, one in enumerate(zip(shapes, dtypes, strict=True))
    ]
    entries = {"weights": 1, "factor": 2, "multiplier": None, "bias": None, "left": 0}
    function = tirx.PrimFunc(params, tirx.Evaluate(0)).with_attr(ATTRIBUTE, json.dumps(entries))
    product = find_integer_product(function)
    assert product is not None
    return dot_tiles_of(product, Choose())


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [(472, 1, (8, 1)), (118, 1, (8, 1)), (12, 1, (4, 1)), (12, 2, (4, 2)), (1, 9, (4, 2))],
)
def test_rows_and_columns(rows: int, columns: int, expected: tuple[int, int]) -> None:
    found = tiles(rows, columns, 16)
    assert (found.rows, found.columns) == expected


@pytest.mark.parametrize(
    ("depth", "dtype", "lanes", "blocks", "copied"),
    [
        (16, "int16", 8, 2, False),
        (12, "int16", 8, 2, True),
        (16, "int8", 16, 1, False),
        (10, "int8", 16, 1, True),
        (24, "int8", 8, 3, False),
        (120, "int8", 16, 8, True),
    ],
)
def test_blocks(depth: int, dtype: str, lanes: int, blocks: int, copied: bool) -> None:
    found = tiles(8, 1, depth, dtype)
    assert (found.lanes, found.blocks, found.copied) == (lanes, blocks, copied)


def test_constants_lie_as_tiles_read_them() -> None:
    found = tiles(6, 3, 12)
    weights = packed_blocks(found)
    assert weights.packing is not None
    assert (weights.packing.size, weights.down) == (8 * 16, 4 * 16)
    factor = found.product.factor
    assert not isinstance(factor, int)
    by = packed_numbers(found, factor, may_be_one=True)
    assert (by.form, by.down, by.across) == ("row", 4, 0)


def test_few_columns_are_copied_at_a_time() -> None:
    assert tiles(8, 99, 250).panel == 8
    assert tiles(8, 99, 5_001).panel == 2
    assert tiles(8, 99, 256).panel == 99
