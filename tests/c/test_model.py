"""A module becomes a model: its tensors, operators, bytes, and what cannot become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_kp import board
from tvm_kp.artifacts import TensorSpec
from tvm_kp.errors import ModelError
from tvm_kp.target import Target

op = relax.op


def straight(build: Callable[..., list], inputs: Mapping[str, tuple]) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    params = [relax.Var(n, relax.TensorType(shape, dtype)) for n, (shape, dtype) in inputs.items()]
    with builder.function("main", params):
        with builder.dataflow():
            result = builder.emit_output(relax.Tuple(build(builder.emit, *params)))
        builder.emit_func_output(result)
    return builder.get()


def run(model, **inputs: np.ndarray) -> list[np.ndarray]:
    found = board.run(model, Target.load(model.target), inputs).outputs
    return [value[0] for value in found.values()]


def test_what_is_known_about_a_model(model_of):
    weights = relax.const(np.ones((4, 6), "float32"))

    def build(emit, x):
        return [emit(op.tanh(op.matmul(x, weights))), emit(op.tanh(x))]

    model = model_of(straight(build, {"x": ((1, 4), "float32")}), name="two")
    assert model.inputs == (TensorSpec("x", (1, 4), "float32"),)
    assert model.outputs == (
        TensorSpec("output0", (1, 6), "float32"),
        TensorSpec("output1", (1, 4), "float32"),
    )
    assert (model.constants_bytes, model.tables_bytes) == (96 + 2048, 2048)
    assert model.io_bytes == 16 + 24 + 16
    assert all(operator.name.startswith("tvmgen_two_") for operator in model.operators)
    assert sorted(operator.constants_bytes for operator in model.operators) == [0, 96]
    assert list(model.sources) == ["two_lib0.c", "two_lib1.c"]
    assert set(tvm.runtime.load_param_dict(model.params)) and "def main" in model.relax


@pytest.mark.parametrize("target", ["host", "mps2-an386"])
def test_doubles_keep_their_digits(model_of, target):
    values = np.array([0.5, 0.1, 1 / 3, -1e-300, 1e300], "float64")

    def build(emit, x):
        return [
            emit(op.multiply(x, relax.const(values, "float64"))),
            emit(op.add(x, relax.const(0.1, "float64"))),
        ]

    model = model_of(straight(build, {"x": ((5,), "float64")}), target)
    x = np.linspace(-1, 1, 5)
    product, total = run(model, x=x)
    np.testing.assert_array_equal(product, x * values)
    np.testing.assert_array_equal(total, x + 0.1)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8"])
def test_integers(model_of, dtype):
    def build(emit, x):
        both = emit(op.add(op.multiply(x, relax.const(3, dtype)), x))
        return [both, emit(op.greater(x, relax.const(1, dtype)))]

    model = model_of(straight(build, {"x": ((6,), dtype)}))
    x = np.arange(6).astype(dtype)
    total, larger = run(model, x=x)
    np.testing.assert_array_equal(total, 4 * x)
    np.testing.assert_array_equal(larger, x > 1)


def test_types_without_c_are_named(model_of):
    mod = straight(lambda emit, x: [emit(op.add(x, x))], {"x": ((3,), "float16")})
    with pytest.raises(ModelError, match=r"computes in float16.*use model\.float\(\)"):
        model_of(mod)


def test_tensors_that_the_header_cannot_tell_apart(model_of):
    inputs = {"x": ((3,), "float32"), "X": ((3,), "float32")}
    mod = straight(lambda emit, *both: [emit(op.add(*both))], inputs)
    with pytest.raises(ModelError, match="the tensors x and X would have one macro"):
        model_of(mod)


def test_tensors_called_like_what_the_header_has_a_size_of(model_of):
    mod = straight(lambda emit, x: [emit(op.tanh(x))], {"Workspace": ((3,), "float32")})
    with pytest.raises(ModelError, match=r"called Workspace, .* the model's workspace; rename"):
        model_of(mod)


def test_names_stay_apart(model_of):
    def build(emit, *inputs):
        again = [emit(op.concat([emit(op.tanh(x)), y], 0)) for x, y in pairwise(inputs)]
        return [emit(op.add(joined, joined)) for joined in again]

    names = ["x", "x_1", "x_x", "x_x_1", "sequence", "output_"]
    model = model_of(straight(build, dict.fromkeys(names, ((2,), "float32"))))
    data = {name: np.full(2, k / 8, "float32") for k, name in enumerate(names)}
    values = list(data.values())
    for found, (x, y) in zip(run(model, **data), pairwise(values), strict=True):
        np.testing.assert_allclose(found, 2 * np.concatenate([np.tanh(x), y]), atol=2e-6)
