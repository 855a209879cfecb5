"""What products are, whichever operand the weights are, and how they are cut into tiles."""

from __future__ import annotations

import json

import pytest
from tvm import tirx

from tvm_kp.kernel.integer_product import ATTRIBUTE, IntegerProduct, find_integer_product
from tvm_kp.kernel.product_tiles import packed_numbers, packed_weights, tiles_of
from tvm_kp.kernel.space import Choose, every


def product(*shapes: tuple[int, ...], **described: int | None) -> IntegerProduct:
    """Operands and result of these shapes, as the description says."""
    entries = {"factor": None, "multiplier": 7, "bias": None, "left": 0, **described}
    params = [tirx.decl_buffer(shape, "int8", f"p{k}") for k, shape in enumerate(shapes)]
    function = tirx.PrimFunc(params, tirx.Evaluate(0)).with_attr(ATTRIBUTE, json.dumps(entries))
    found = find_integer_product(function)
    assert found is not None
    return found


def test_rows_are_those_of_the_weights() -> None:
    left = product((5, 3), (2, 3, 4), (2, 5, 4), weights=0)
    assert (left.batch, left.rows, left.columns, left.depth) == ((2,), 5, 4, 3)
    assert (left.out.row, left.out.column) == (4, 1)
    assert (left.activations.batch, left.activations.column, left.activations.depth) == (
        (12,),
        1,
        4,
    )
    right = product((2, 4, 3), (2, 3, 5), (2, 4, 5), weights=1)
    assert (right.rows, right.columns, right.depth) == (5, 4, 3)
    assert (right.weights.batch, right.weights.row, right.weights.depth) == ((15,), 1, 5)


def test_a_batch_of_rows_becomes_columns() -> None:
    joined = product((2, 4, 3), (3, 5), (5,), (2, 4, 5), weights=1, bias=2)
    assert (joined.batch, joined.columns, joined.activations.column) == ((), 8, 3)
    kept = product((2, 4, 3), (3, 5), (4, 1), (2, 4, 5), weights=1, bias=2)
    assert (kept.batch, kept.columns) == ((2,), 4)


def test_other_functions_are_none() -> None:
    assert find_integer_product(tirx.PrimFunc([], tirx.Evaluate(0))) is None


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (1, 1, (2, 1, False)),
        (9, 1, (4, 1, False)),
        (9, 2, (2, 2, False)),
        (9, 4, (2, 2, False)),
        (9, 6, (2, 3, False)),
        (9, 8, (2, 2, True)),
        (9, 12, (2, 3, True)),
    ],
)
def test_tiles(rows: int, columns: int, expected: tuple[int, int, bool]) -> None:
    tiles = tiles_of(product((columns, 6), (6, rows), (columns, rows), weights=1), Choose())
    assert (tiles.rows, tiles.columns, tiles.along) == expected
    assert tiles.panel == columns
    weights = packed_weights(tiles)
    assert weights.packing is not None
    assert weights.packing.size == tiles.down * weights.down


def test_few_columns_are_unpacked_at_a_time() -> None:
    tiles = tiles_of(product((99, 256), (256, 8), (99, 8), weights=1), Choose())
    assert tiles.panel == 8 and 2 * tiles.words * tiles.panel // tiles.columns == 4096


def test_every_way_is_a_tiling() -> None:
    found = product((12, 40), (40, 9), (12, 9), weights=1)
    ways = list(every(lambda choose: tiles_of(found, choose)))
    assert len(ways) == 24 and {way["tile"] for way in ways} == {"2x2", "2x3"}


def test_biases_lie_as_tiles_read_them() -> None:
    shapes = (2, 4, 8), (2, 8, 6), (2, 4, 1), (4, 6), (2, 4, 6)
    tiles = tiles_of(product(*shapes, weights=1, factor=2, bias=3), Choose())
    bias, factor = tiles.product.bias, tiles.product.factor
    assert bias is not None and not isinstance(factor, int)
    each = packed_numbers(tiles, bias, may_be_one=False)
    assert (each.form, each.batch, each.down, each.across) == ("tile", (0,), 4, 12)
    by = packed_numbers(tiles, factor, may_be_one=True)
    assert (by.form, by.batch) == ("tile", (24,))
