from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_kp.graph.join_matmuls import JoinMatmuls

op = relax.op


def constant(*shape):
    return relax.const(np.linspace(-1, 1, int(np.prod(shape)), dtype="float32").reshape(shape))


def added(v, w):
    return lambda e, x, h: e(op.add(e(op.matmul(x, v)), e(op.matmul(h, w))))


def test_two_products_become_one(module_of, assert_equal, assert_kept):
    v, w = constant(3, 5), constant(4, 5)
    weights = relax.const(np.concatenate([v.value.numpy(), w.value.numpy()]))
    before = module_of(added(v, w), x=(2, 3), h=(2, 4))
    copy = before.clone()
    after = relax.transform.DeadCodeElimination()(JoinMatmuls()(before))
    tvm.ir.assert_structural_equal(before, copy)
    expected = module_of(
        lambda e, x, h: e(op.matmul(e(op.concat([x, h], axis=1)), weights)), x=(2, 3), h=(2, 4)
    )
    assert_equal(after, expected)
    assert_kept(before, after)


@pytest.mark.parametrize(
    ("v", "w", "x", "h"),
    [
        ((3, 5), (4, 5), (1, 3), (2, 4)),
        ((3, 1), (4, 5), (2, 3), (2, 4)),
        ((2, 3, 5), (4, 5), (2, 2, 3), (2, 4)),
    ],
    ids=["batch", "width", "rank"],
)
def test_left_unchanged(module_of, assert_equal, v, w, x, h):
    mod = module_of(added(constant(*v), constant(*w)), x=x, h=h)
    assert_equal(JoinMatmuls()(mod), mod)


def test_weights_that_are_no_constants_are_left(module_of, assert_equal):
    mod = module_of(
        lambda e, x, h, w: e(op.add(e(op.matmul(x, constant(3, 5))), e(op.matmul(h, w)))),
        x=(2, 3),
        h=(2, 4),
        w=(4, 5),
    )
    assert_equal(JoinMatmuls()(mod), mod)
