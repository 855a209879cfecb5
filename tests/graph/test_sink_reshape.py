from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from tvm_kp.graph.sink_reshape import SinkReshape

op = relax.op


def constant(*shape):
    return relax.const(np.arange(np.prod(shape), dtype="float32").reshape(shape))


def network(module_of, bias, view=(1, 6), turned=False):
    def body(emit, x):
        flat = emit(op.reshape(emit(op.matmul(x, constant(4, 3))), view))
        return emit(op.add(bias, flat) if turned else op.add(flat, bias))

    return module_of(body, x=(1, 2, 4))


@pytest.mark.parametrize("bias", [(1, 6), (6,)])
@pytest.mark.parametrize("turned", [False, True])
def test_bias_meets_its_product(module_of, assert_equal, assert_kept, bias, turned):
    def expected(emit, x):
        total = op.add(emit(op.matmul(x, constant(4, 3))), constant(2, 3))
        return emit(op.reshape(emit(total), (1, 6)))

    before = network(module_of, constant(*bias), turned=turned)
    after = SinkReshape()(before)
    clean = relax.transform.DeadCodeElimination()
    assert_equal(clean(after), module_of(expected, x=(1, 2, 4)))
    assert_kept(before, after)


@pytest.mark.parametrize(
    ("bias", "view"),
    [((1,), (1, 6)), ((6, 1), (1, 6)), ((3,), (2, 3)), ((1, 2, 3), (1, 2, 3))],
    ids=["scalar", "column", "leading axis changed", "three axes"],
)
def test_left_unchanged(module_of, assert_equal, bias, view):
    mod = network(module_of, constant(*bias), view)
    assert_equal(SinkReshape()(mod), mod)


def test_left_unchanged_without_product_or_constant(module_of, assert_equal):
    def body(emit, x, b):
        flat = emit(op.reshape(emit(op.nn.relu(x)), (1, 6)))
        product = emit(op.reshape(emit(op.matmul(x, constant(3, 3))), (1, 6)))
        first = emit(op.add(flat, constant(1, 6)))
        return emit(relax.Tuple([first, emit(op.add(product, b))]))

    mod = module_of(body, x=(1, 2, 3), b=(1, 6))
    assert_equal(SinkReshape()(mod), mod)
