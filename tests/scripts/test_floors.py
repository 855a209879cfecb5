"""No way to schedule a product is faster than its counted floor."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tvm import te

from tvm_kp import Options, Target, tuning
from tvm_kp.artifacts import CONSTANTS
from tvm_kp.compress import KroneckerLSTM

# Three addresses and a branch, and four instructions that save registers and restore them.
CALL = 3 + 1 + 4


@pytest.fixture
def floors():
    import floors

    return floors


def floats(rows, depth, columns, constant=0):
    """Rows of scalars times vectors; operand 0 or 1 is constant."""
    a, b = te.placeholder((rows, depth), name="a"), te.placeholder((depth, columns), name="b")
    k = te.reduce_axis((0, depth), "k")
    c = te.compute((rows, columns), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    return te.create_prim_func([a, b, c]).with_attr(CONSTANTS, json.dumps([constant]))


def test_single_numbers_are_counted_by_hand(floors):
    # 64 VFMA, two loads of two steps of each operand, and a store.
    assert floors.floor(floats(4, 4, 4), {"dsp", "fpu"}) == 64 + 4 + 1 + CALL


def test_vectors_are_counted_by_hand(floors):
    # 16 VFMA, four vectors, 16 scalars by two loads, four stores.
    assert floors.floor(floats(4, 4, 4), {"dsp", "fpu", "mve", "mve.fp"}) == 16 + 4 + 2 + 4 + CALL


def test_rows_of_scalars_that_are_not_packed_lie_apart(floors):
    isa = {"dsp", "fpu", "mve", "mve.fp"}
    # A load takes four steps of one of two rows: 48 VFMA, 24 vectors, four loads, six stores.
    assert floors.floor(floats(2, 8, 12, 1), isa) == 48 + 24 + 4 + 6 + CALL
    # Or six steps of a row, whose vectors stay: twice, with sums that are stored and loaded again.
    expected = 12 * 12 + 12 + 2 * 12 + 3 * 12 + CALL
    assert floors.floor(floats(12, 12, 4, 1), isa) == expected


def test_what_is_no_product_has_none(floors):
    x = te.placeholder((4, 4), name="x")
    doubled = te.compute((4, 4), lambda i, j: x[i, j] * 2, name="doubled")
    assert floors.floor(te.create_prim_func([x, doubled]), {"dsp", "fpu"}) is None


@pytest.mark.parametrize("board", ["mps2-an386", "mps3-an547"])
def test_no_way_is_faster(floors, tmp_path, board):
    torch.manual_seed(0)
    layer = KroneckerLSTM(5, 12, ((6, 1), (2, 17)), batch_first=True)
    x = torch.randn(1, 3, 5)
    seen = {"x": np.random.default_rng(0).standard_normal((4, 1, 3, 5), "float32")}
    options = Options(quantize="int8", calibration=seen)
    found = tuning.tasks(layer, board, example_inputs=(x,), options=options)
    products = [task for task in found if "matmul" in task.label.partition(":")[0]]
    settings = tuning.Settings(trials=12)
    session = tuning.tune_tasks(
        products, board, tmp_path / "r.jsonl", tuner="random", settings=settings
    )
    isa = Target.load(board).isa
    ratios = [
        one.best / floors.floor(one.task.function, isa, one.task.joined) for one in session.progress
    ]
    assert ratios and min(ratios) >= 1 and max(ratios) < 2.5
