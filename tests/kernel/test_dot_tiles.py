"""How products become tiles of dot products."""

from __future__ import annotations

import json

import pytest
from tvm import tirx

from tvm_kp.kernel.dot_tiles import DotTiles, dot_tiles_of, packed_blocks
from tvm_kp.kernel.integer_product import ATTRIBUTE, find_integer_product
from tvm_kp.kernel.product_tiles import packed_numbers
from tvm_kp.kernel.space import Choose


def tiles(
    rows: int, columns: int, depth: int, dtype: str = "int16", apart: bool = False
) -> DotTiles:
    """Of activations (columns, depth), weights (depth, rows) and a factor for each row; or of
    weights times activations (depth, columns), whose columns are ``apart``."""
    shapes = (columns, depth), (depth, rows), (rows,), (columns, rows)
    dtypes = dtype, "int8", "int32", "int16"
    if apart:
        shapes = (rows, depth), (depth, columns), (rows, 1), (rows, columns)
        dtypes = "int8", dtype, "int32", "int16"
    params = [
        tirx.decl_buffer(*one, f"p{k}") for k, one in enumerate(zip(shapes, dtypes, strict=True))
    ]
    entries = {
        "weights": 0 if apart else 1,
        "factor": 2,
        "multiplier": None,
        "bias": None,
        "left": 0,
    }
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
    ("depth", "dtype", "lanes", "blocks", "tail"),
    [
        (16, "int16", 8, 2, 0),
        (12, "int16", 8, 2, 4),
        (16, "int8", 16, 1, 0),
        (10, "int8", 16, 1, 10),
        (24, "int8", 8, 3, 0),
        (120, "int8", 16, 8, 8),
    ],
)
def test_blocks(depth: int, dtype: str, lanes: int, blocks: int, tail: int) -> None:
    found = tiles(8, 1, depth, dtype)
    assert (found.lanes, found.blocks, found.tail, found.copied) == (lanes, blocks, tail, False)


@pytest.mark.parametrize(
    ("depth", "dtype", "gathered"),
    [(3, "int16", True), (16, "int16", True), (17, "int16", False), (30, "int8", False)],
)
def test_columns_that_are_apart_are_gathered_or_copied(
    depth: int, dtype: str, gathered: bool
) -> None:
    found = tiles(8, 2, depth, dtype, apart=True)
    assert (found.gathered, found.copied) == (gathered, not gathered)
    assert found.tail == (depth % found.lanes if gathered else 0)


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
    assert tiles(8, 99, 250, apart=True).panel == 8
    assert tiles(8, 99, 5_001, apart=True).panel == 2
    assert tiles(8, 99, 250).panel == 99
