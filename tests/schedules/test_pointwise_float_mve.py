"""Vectors of floats on an emulated Cortex-M55 hold what numpy says."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from tvm_kp import board
from tvm_kp.target import Target

op = relax.op
M55 = "mps3-an547"
TANH_BOUND, SIGMOID_BOUND = 5e-7, 2.5e-7  # those of the C for one float
SHAPES = [(4,), (5,), (3, 5), (2, 3, 4), (118,)]


def run(model, *arrays):
    inputs = {f"x{k}": array[None] for k, array in enumerate(arrays)}
    return [x[0] for x in board.run(model, Target.load(M55), inputs).outputs.values()]


def is_vector(text):
    return "T.vectorized" in text


@pytest.fixture(scope="module")
def functions(module, model_of):
    """``x`` -> tanh and sigmoid of it, on the board."""

    def evaluate(x):
        both = [lambda emit, x: [emit(op.tanh(x)), emit(op.sigmoid(x))]]
        return run(model_of(module(*both, x.shape), M55), x)

    return evaluate


def test_tanh_and_sigmoid_are_near(functions):
    """At every 33,301st float up to 30, and down to -30."""
    x = np.arange(0, np.float32(30).view(np.int32), 33_301, np.int32).view(np.float32)
    x = np.concatenate([x, -x])
    tanh, sigmoid = functions(x[: x.size // 4 * 4])
    wide = x[: x.size // 4 * 4].astype("float64")
    assert np.abs(tanh - np.tanh(wide)).max() <= TANH_BOUND
    assert np.abs(sigmoid - 1 / (1 + np.exp(-wide))).max() <= SIGMOID_BOUND


def test_special_values_go_through(functions):
    x = np.array([np.inf, -np.inf, np.nan, -0.0, 3e38, -3e38, 1e-45, 0], "float32")
    tanh, sigmoid = functions(x)
    wanted = [1, -1, np.nan, 0, 1, -1, 0, 0]
    np.testing.assert_allclose(tanh, wanted, rtol=0, atol=TANH_BOUND)
    half = [1, 0, np.nan, 0.5, 1, 0, 0.5, 0.5]
    np.testing.assert_allclose(sigmoid, half, rtol=0, atol=SIGMOID_BOUND)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_arithmetic_is_exact(shape, module, model_of, kernels):
    def build(emit, x, y, number):
        half = relax.const(0.5)
        results = [op.add(x, y), op.subtract(x, y), op.multiply(x, y), op.maximum(x, y)]
        results += [op.minimum(x, y), op.subtract(half, x), op.multiply(x, number)]
        return [emit(result) for result in [*results, op.nn.relu(x), op.add(x, half)]]

    random = np.random.default_rng(0)
    x, y = (random.uniform(-2, 2, shape).astype("float32") for _ in range(2))
    number = np.array([0.3], "float32")
    mod = module(build, shape, shape, (1,))
    assert all(map(is_vector, kernels(mod, M55).values()))
    half = np.float32(0.5)
    expected = [x + y, x - y, x * y, np.maximum(x, y), np.minimum(x, y), half - x, x * number]
    found = run(model_of(mod, M55), x, y, number)
    for result, wanted in zip(found, [*expected, np.maximum(x, 0), x + half], strict=True):
        np.testing.assert_array_equal(result, wanted, strict=True)


def test_what_is_left_is_a_vector_that_lacks_lanes(module, model_of):
    text = model_of(module(lambda emit, x: [emit(op.tanh(x))], (118,)), M55).sources["m_lib1.c"]
    assert text.count("kp_tanhf_x4(") == 3 and "float kp_tanhf(" not in text
    assert "kp_storef_x4(&out0[116], kp_tanhf_x4(kp_loadf_x4(&in0[116], 2)), 2);" in text


def test_relu_lets_nan_through(module, model_of):
    x = np.array([np.nan, -1, 1, np.nan], "float32")
    (found,) = run(model_of(module(lambda emit, x: [emit(op.nn.relu(x))], (4,)), M55), x)
    np.testing.assert_array_equal(found, [np.nan, 0, 1, np.nan])


@pytest.mark.parametrize(
    "build",
    [
        lambda emit, x, y: [emit(op.add(x, y))],  # a row for every row
        lambda emit, x, y: [emit(op.exp(x))],
        lambda emit, x, y: [emit(op.divide(x, x))],
        lambda emit, x, y: [emit(op.tanh(op.strided_slice(y, [0], [0], [3])))],
    ],
    ids=["broadcast", "unknown", "division", "short"],
)
def test_left_to_other_rules(build, module, kernels):
    texts = kernels(module(build, (4, 6), (6,)), M55).values()
    assert texts and not any(map(is_vector, texts))


def test_a_transposed_operand_is_left_to_other_rules(module, model_of, kernels):
    mod = module(lambda emit, x, y: [emit(op.add(x, emit(op.permute_dims(y))))], (2, 4), (4, 2))
    assert not any(is_vector(text) for text in kernels(mod, M55).values())
    x, y = np.arange(8, dtype="float32").reshape(2, 4), np.ones((4, 2), "float32")
    y[2] = 5
    (found,) = run(model_of(mod, M55), x, y)
    np.testing.assert_array_equal(found, x + y.T)
