"""Steps of ``kp.scan`` built by hand: which operators share a loop."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_kp.fixedpoint import Multiplier
from tvm_kp.graph import integer_operators, scan
from tvm_kp.graph.fuse_pointwise import FusePointwise
from tvm_kp.graph.integer_operators import legalizations
from tvm_kp.graph.join_matmuls import JoinMatmuls
from tvm_kp.graph.rewrite import bindings, name_of

op = relax.op
W = relax.const(np.linspace(-1, 1, 16, dtype="float32").reshape(4, 4))
ROW = relax.const(np.linspace(0, 1, 4, dtype="float32").reshape(1, 4))


def scanning(body, batch=1, bind=True):
    """``h' = body(emit, x_t, h)`` over three steps; ``bind`` says whether the result has a name."""
    builder = relax.BlockBuilder()
    vector = relax.TensorType((batch, 4), "float32")
    x_t, h_t = relax.Var("x_t", vector), relax.Var("h_t", vector)
    with builder.function("step", [x_t, h_t], private=True):
        with builder.dataflow():
            fields = body(builder.emit, x_t, h_t)
            if bind:
                result = builder.emit_output(relax.Tuple(fields))
            else:
                result = relax.Tuple([builder.emit_output(f) for f in fields])
        builder.emit_func_output(result)
    step = builder.get().get_global_var("step")
    x, h = relax.Var("x", relax.TensorType((3, batch, 4), "float32")), relax.Var("h", vector)
    with builder.function("main", [x, h]):
        with builder.dataflow():
            result = builder.emit_output(scan.scan(step, [x], [h]))
        builder.emit_func_output(result)
    return builder.get()


def lstm_like(e, x, h):
    gate = op.sigmoid(e(op.add(e(op.matmul(x, W)), e(op.matmul(h, W)))))
    new = e(op.add(e(op.multiply(e(gate), h)), e(op.tanh(x))))
    return [new, e(op.tanh(new))][::-1]


def gru_like(e, x, h):
    reset = e(op.multiply(e(op.sigmoid(e(op.add(x, h)))), h))
    candidate = e(op.tanh(e(op.add(e(op.matmul(reset, W)), x))))
    return [e(op.add(e(op.multiply(candidate, x)), h))]


def broadcasting(e, x, h):
    scale = e(op.exp(e(op.negative(ROW))))
    return [e(op.tanh(e(op.multiply(e(op.add(x, h)), scale))))]


def biased(e, x, h):
    return [e(op.tanh(e(op.add(e(op.add(e(op.matmul(x, W)), ROW)), h))))]


def integers(e, x, h):
    """Ends in a float again, as the state of ``scanning`` is one."""
    left, right = (e(integer_operators.quantize(value, 2.0**-13, 16)) for value in (x, h))
    gate = e(op.astype(e(integer_operators.sigmoid(left, 13)), "int32"))
    other = e(op.astype(e(integer_operators.tanh(right, 13)), "int32"))
    product = e(op.multiply(gate, other))
    half = e(integer_operators.requantize(product, Multiplier.of(2.0**-17), 16))
    return [e(op.astype(half, "float32"))]


def integer_product(e, x, h):
    """A sum that is requantized as it is stored, and one that the cell requantizes itself."""
    vector = e(integer_operators.quantize(e(op.add(x, h)), 2.0**-6, 8))
    weights = relax.const((W.value.numpy() * 100).astype("int8"))
    total = e(op.matmul(vector, weights, out_dtype="int32"))
    total = e(op.add(total, relax.const(np.arange(4, dtype="int32"))))
    gate = e(integer_operators.requantize(total, Multiplier.of([0.5, 0.25, 0.75, 1]), 16))
    squared = e(op.multiply(total, e(op.astype(e(integer_operators.tanh(gate, 12)), "int32"))))
    small = e(integer_operators.requantize(squared, Multiplier.of([2.0**-20] * 4), 8))
    return [e(op.astype(small, "float32"))]


def primitives(mod):
    return [f for _, f in mod.functions_items() if (f.attrs or {}).get("Primitive")]


def cells(mod):
    """The operators of every function that was made, sorted."""
    return sorted(
        sorted(name_of(b.value).removeprefix("relax.") for b in bindings(f) if name_of(b.value))
        for f in primitives(mod)
    )


@pytest.mark.parametrize("bind", [True, False])
@pytest.mark.parametrize(
    ("body", "batch", "expected"),
    [
        (lstm_like, 1, [["add", "add", "multiply", "sigmoid", "tanh", "tanh"]]),
        (gru_like, 1, [["add", "add", "multiply", "tanh"], ["add", "multiply", "sigmoid"]]),
        (broadcasting, 1, [["add", "exp", "multiply", "negative", "tanh"]]),
        # x + h waits for the scale, which has another shape.
        (broadcasting, 3, [["add", "multiply", "tanh"], ["exp", "negative"]]),
        (biased, 1, [["add", "tanh"]]),
    ],
)
def test_one_loop_for_what_is_between_products(assert_kept, body, batch, expected, bind):
    before = scanning(body, batch, bind)
    after = FusePointwise()(before)
    relax.analysis.well_formed(after)
    assert cells(after) == expected
    assert_kept(before, after)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            integers,
            [
                ["astype"] * 3
                + ["kp.interpolate"] * 2
                + ["kp.quantize"] * 2
                + ["kp.requantize", "multiply"]
            ],
        ),
        (
            integer_product,
            [
                ["add", "kp.quantize"],
                ["astype"] * 2 + ["kp.interpolate", "kp.requantize", "multiply"],
            ],
        ),
    ],
)
def test_operators_on_integers(assert_kept, body, expected):
    before = scanning(body)
    after = FusePointwise()(before)
    assert cells(after) == expected
    legal = relax.transform.LegalizeOps(legalizations())
    assert_kept(legal(before), legal(after))


def test_functions_that_are_interpolated_share_their_table():
    (cell,) = primitives(FusePointwise()(scanning(integers)))
    assert [tuple(map(int, p.ty.shape)) for p in cell.params] == [(1, 4), (1, 4), (513,)]


@pytest.mark.parametrize(
    "body",
    [
        lambda e, x, h: [e(op.add(x, h))],
        lambda e, x, h: [e(op.matmul(x, W))],
        lambda e, x, h: [e(op.tanh(e(op.matmul(e(op.add(x, h)), W))))],
    ],
    ids=["single", "product", "singles around a product"],
)
def test_left_unchanged(assert_equal, body):
    mod = scanning(body)
    after = FusePointwise()(mod)
    assert cells(after) == []
    assert_equal(after, mod)


def test_left_unchanged_outside_of_a_step(module_of, assert_equal):
    mod = module_of(lambda e, x: e(op.tanh(e(op.exp(x)))), x=(2, 3))
    assert_equal(FusePointwise()(mod), mod)


def test_the_cell_of_an_lstm_is_one_loop(normalized):
    before = normalized.clone()
    after = FusePointwise()(JoinMatmuls()(normalized))
    tvm.ir.assert_structural_equal(normalized, before)
    expected = ["add"] + ["multiply"] * 3 + ["sigmoid"] * 3 + ["tanh"] * 2
    assert cells(after) == [expected]
