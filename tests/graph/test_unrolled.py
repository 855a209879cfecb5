from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from tvm_kp.graph.rewrite import name_of
from tvm_kp.graph.unrolled import Row, Unrolled, leaves, replace_leaves, taken_row

op = relax.op
X = relax.Var("x", relax.TensorType((5, 2, 3), "float32"))


def names(unrolled):
    return [name_of(binding.value) for binding in unrolled.operators]


def test_views_rows_and_constants_are_no_operators(module_of):
    def body(emit, x):
        w = emit(op.permute_dims(relax.const(np.ones((4, 3), "float32"))))
        row = emit(op.reshape(emit(op.take(x, relax.const(3), axis=0)), (2, 3)))
        return emit(op.tanh(emit(op.matmul(row, w))))

    unrolled = Unrolled(module_of(body, x=(5, 2, 3))["main"])
    assert names(unrolled) == ["relax.matmul", "relax.tanh"]
    row, w = unrolled.bases(0)
    assert isinstance(row, Row) and (row.axis, row.index) == (0, 3)
    assert w in unrolled.constant


def test_equal_constants_stand_for_each_other(module_of):
    def body(emit, x):
        for value in (1.0, 1.0, 2.0):
            x = emit(op.add(x, relax.const(value)))
        return x

    unrolled = Unrolled(module_of(body, x=(2, 3))["main"])
    first, second, third = (unrolled.bases(at)[1] for at in range(3))
    assert first == second != third


def test_equal_expressions_of_constants_stand_for_each_other(module_of):
    w = relax.const(np.ones((3, 3), "float32"))

    def body(emit, x):
        for _ in range(2):
            x = emit(op.matmul(x, emit(op.permute_dims(w))))
        return x

    unrolled = Unrolled(module_of(body, x=(2, 3))["main"])
    assert unrolled.bases(0)[1] == unrolled.bases(1)[1]


def test_product_of_a_constant_state_is_an_operator(module_of):
    w = relax.const(np.ones((3, 3), "float32"))

    def body(emit, x):
        h = emit(op.full((2, 3), relax.const(0.0), "float32"))
        for _ in range(2):
            h = emit(op.add(emit(op.matmul(h, w)), x))
        return h

    unrolled = Unrolled(module_of(body, x=(2, 3))["main"])
    assert names(unrolled) == ["relax.matmul", "relax.add"] * 2
    assert list(unrolled.kinds) == [0, 1, 0, 1]


def test_parts_of_a_split_are_rows(module_of):
    def body(emit, x):
        parts = emit(op.split(x, 5, axis=0))
        return emit(op.add(emit(parts[1]), emit(parts[4])))

    unrolled = Unrolled(module_of(body, x=(5, 2, 3))["main"])
    first, second = unrolled.bases(len(unrolled.operators) - 1)
    assert (first.index, second.index) == (1, 4)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (op.take(X, relax.const(2), axis=1), (1, 2)),
        (op.take(X, relax.const(-1), axis=0), (0, -1)),
        (op.strided_slice(X, [0], [3], [4]), (0, 3)),
        (op.strided_slice(X, [0], [-1], [9]), (0, 4)),
        (op.strided_slice(X, [0], [1], [3]), None),
        (op.strided_slice(X, [0, 1], [1, 0], [2, 1]), None),
        (op.take(X, relax.const(np.array([1, 2])), axis=0), None),
        (op.tanh(X), None),
    ],
)
def test_taken_rows(value, expected):
    value = relax.BlockBuilder().normalize(value)
    found = taken_row(value)
    assert (None if found is None else found[1:]) == expected


def test_leaves_are_replaced_in_order():
    one, two = relax.const(1.0), relax.const(2.0)
    value = op.concat([X, X], axis=0)
    assert len(list(leaves(value))) == 2
    replaced = replace_leaves(value, iter([one, two]))
    assert [leaf.same_as(new) for leaf, new in zip(leaves(replaced), (one, two), strict=True)] == [
        True,
        True,
    ]
