"""Steps of ``kp.scan`` built by hand: what is split, and what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_kp.graph import scan
from tvm_kp.graph.fuse_pointwise import FusePointwise
from tvm_kp.graph.split_pointwise import SplitPointwise

op = relax.op


def constant(*shape):
    return relax.const(np.linspace(-1, 1, int(np.prod(shape)), dtype="float32").reshape(shape))


def scanning(body, width=4):
    """``h' = body(emit, x_t, h)`` over three steps."""
    builder = relax.BlockBuilder()
    vector = relax.TensorType((1, width), "float32")
    x_t, h_t = relax.Var("x_t", vector), relax.Var("h_t", vector)
    with builder.function("step", [x_t, h_t], private=True):
        with builder.dataflow():
            new = body(builder.emit, x_t, h_t)
            result = builder.emit_output(relax.Tuple([new, new]))
        builder.emit_func_output(result)
    step = builder.get().get_global_var("step")
    sequence = relax.TensorType((3, 1, width), "float32")
    x, h = relax.Var("x", sequence), relax.Var("h", vector)
    with builder.function("main", [x, h]):
        with builder.dataflow():
            result = builder.emit_output(scan.scan(step, [x], [h]))
        builder.emit_func_output(result)
    return builder.get()


def product(e, x, columns):
    """Two axes long, as the product with a Kronecker factor is."""
    width = int(x.ty.shape[1])
    return e(op.reshape(e(op.matmul(x, constant(width, columns))), (1, columns)))


def gated(e, gates, h, sections):
    parts = e(op.split(gates, sections, axis=-1))
    i, f = e(parts[0]), e(parts[1])
    return e(op.add(e(op.multiply(e(op.sigmoid(i)), h)), e(op.tanh(f))))


def split(mod):
    clean = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination()]
    return tvm.transform.Sequential([SplitPointwise(), *clean])(mod)


def cells(mod):
    return sum("cell" in gv.name_hint for gv, _ in FusePointwise()(mod).functions_items())


@settings(max_examples=12)
@given(
    st.integers(2, 5),
    st.sampled_from([(1, 0), (0,), (1, 1), ()]),
    st.sampled_from(["add", "maximum", "multiply"]),
    st.booleans(),
    st.booleans(),
)
def test_operands_are_split(assert_kept, width, bias, name, activated, equal):
    def body(e, x, h):
        total = e(getattr(op, name)(product(e, x, 2 * width), product(e, h, 2 * width)))
        # Whole, or of size one along the axis, or a scalar.
        total = e(op.add(total, constant(*(size or 2 * width for size in bias))))
        total = e(op.clip(e(op.sigmoid(total)), 0.1, 0.9)) if activated else total
        return gated(e, total, h, 2 if equal else [width])

    before = scanning(body, width)
    copy = before.clone()
    after = split(before)
    tvm.ir.assert_structural_equal(before, copy)
    assert cells(before) == 2 and cells(after) == 1
    assert_kept(before, after)


def biased(e, x, h):
    total = e(op.add(e(op.matmul(x, constant(4, 8))), constant(1, 8)))
    return gated(e, total, h, 2)


def read_twice(e, x, h):
    total = e(op.add(product(e, x, 8), product(e, h, 8)))
    return e(op.add(gated(e, total, h, 2), product(e, total, 4)))


def read_by_products(e, x, h):
    parts = e(op.split(e(op.add(product(e, x, 8), product(e, h, 8))), 2, axis=1))
    return e(op.add(product(e, e(parts[0]), 4), product(e, e(parts[1]), 4)))


@pytest.mark.parametrize("body", [biased, read_twice, read_by_products])
def test_left_unchanged(assert_equal, body):
    mod = scanning(body)
    assert_equal(SplitPointwise()(mod), mod)


def test_left_unchanged_outside_of_a_step(module_of, assert_equal):
    mod = module_of(lambda e, x, h: gated(e, e(op.add(x, x)), h, 2), x=(1, 8), h=(1, 4))
    assert_equal(SplitPointwise()(mod), mod)
