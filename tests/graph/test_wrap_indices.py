from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from tvm_kp.graph.wrap_indices import WrapIndices


def taking(module_of, index, axis, shape=(3, 4)):
    constant = relax.const(np.array(index, "int64"))
    return module_of(lambda emit, x: emit(relax.op.take(x, constant, axis=axis)), x=shape)


@pytest.mark.parametrize(
    ("index", "axis", "wrapped"),
    [(-1, 0, 2), (-1, 1, 3), (-4, -1, 0), ([0, -2], 1, [0, 2])],
)
def test_counts_from_the_start(module_of, index, axis, wrapped, assert_equal):
    mod = WrapIndices()(taking(module_of, index, axis))
    assert_equal(mod, taking(module_of, wrapped, axis))


def test_without_an_axis(module_of, assert_equal):
    mod = WrapIndices()(taking(module_of, [-1], None, shape=(12,)))
    assert_equal(mod, taking(module_of, [11], None, shape=(12,)))


@pytest.mark.parametrize("index", [0, 2, [1, 0]])
def test_left_unchanged(module_of, index, assert_equal):
    mod = taking(module_of, index, 0)
    assert_equal(WrapIndices()(mod), mod)


def test_an_index_that_is_no_constant_is_left(assert_equal):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((3, 4), "float32"))
    k = relax.Var("k", relax.TensorType((), "int64"))
    with builder.function("main", [x, k]):
        with builder.dataflow():
            y = builder.emit_output(relax.op.take(x, k, axis=0))
        builder.emit_func_output(y)
    assert_equal(WrapIndices()(builder.get()), builder.get())
