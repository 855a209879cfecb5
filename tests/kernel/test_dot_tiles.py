"""How products become tiles of dot products."""

from __future__ import annotations

import json

import numpy as np
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
    [
        (472, 1, (8, 1)),
        (118, 1, (8, 1)),
        (12, 1, (8, 1)),
        (27, 1, (4, 1)),
        (4, 1, (4, 1)),
        (12, 2, (4, 2)),
        (1, 9, (4, 2)),
    ],
)
def test_rows_and_columns(rows: int, columns: int, expected: tuple[int, int]) -> None:
    found = tiles(rows, columns, 16)
    assert (found.rows, found.columns) == expected


@pytest.mark.parametrize(
    ("depth", "dtype", "lanes", "blocks"),
    [
        (16, "int16", 8, 2),
        (12, "int16", 8, 2),
        (16, "int8", 16, 1),
        (10, "int8", 16, 1),
        (24, "int8", 8, 3),
        (120, "int8", 16, 8),
    ],
)
def test_blocks(depth: int, dtype: str, lanes: int, blocks: int) -> None:
    found = tiles(8, 1, depth, dtype)
    assert (found.lanes, found.blocks, found.copied) == (lanes, blocks, False)


@pytest.mark.parametrize(
    ("columns", "depth", "expected"),
    [(8, 8, (2, 4)), (8, 9, (4, 2)), (2, 8, (4, 2)), (1, 8, (8, 1))],
)
def test_short_sums_have_tiles_of_four_columns(
    columns: int, depth: int, expected: tuple[int, int]
) -> None:
    found = tiles(30, columns, depth)
    assert (found.rows, found.columns) == expected


@pytest.mark.parametrize(
    ("depth", "dtype", "gathered"),
    [
        *((3, "int16", True), (16, "int16", True), (17, "int16", False)),
        *((24, "int8", False), (11, "int8", True)),
    ],
)
def test_columns_that_are_apart_are_gathered_or_copied(
    depth: int, dtype: str, gathered: bool
) -> None:
    found = tiles(8, 2, depth, dtype, apart=True)
    assert (found.gathered, found.copied) == (gathered, not gathered)


def test_bytes_that_are_far_apart_are_copied() -> None:
    assert tiles(8, 17, 11, "int8", apart=True).gathered
    assert not tiles(8, 18, 11, "int8", apart=True).gathered


def test_little_is_written_out() -> None:
    assert tiles(30, 8, 8).trip == 4
    for rows, columns, depth in ((30, 8, 8), (472, 1, 118), (20, 4, 17), (8, 2, 3), (3, 40, 3)):
        found = tiles(rows, columns, depth)
        written = found.instructions * found.trip * found.written
        assert written <= max(2 * 128, found.instructions)


def test_constants_lie_as_tiles_read_them() -> None:
    found = tiles(6, 3, 12)
    weights = packed_blocks(found)
    assert weights.packing is not None
    assert (weights.packing.size, weights.down) == (8 * 16, 4 * 16)
    factor = found.product.factor
    assert not isinstance(factor, int)
    by = packed_numbers(found, factor, may_be_one=True)
    assert (by.form, by.down, by.across) == ("row", 4, 0)


def test_factors_of_two_rows_lie_as_squares_of_sums_do() -> None:
    found = tiles(6, 4, 8)
    factor = found.product.factor
    assert found.rows == 2 and not isinstance(factor, int)
    by = packed_numbers(found, factor, may_be_one=True)
    assert by.packing is not None and (by.form, by.down) == ("row", 4)
    packed = by.packing.apply(np.arange(6, dtype=np.int32))
    assert packed.tolist() == [0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5]


def test_few_rows_need_few_zeros() -> None:
    for rows, size in ((10, 12), (18, 20), (13, 16), (22, 24), (27, 28)):
        packing = packed_blocks(tiles(rows, 1, 16)).packing
        assert packing is not None and packing.size == size * 16


def test_few_columns_are_copied_at_a_time() -> None:
    assert tiles(8, 99, 250, apart=True).panel == 8
    assert tiles(8, 99, 5_001, apart=True).panel == 2
    assert tiles(8, 99, 250).panel == 99
