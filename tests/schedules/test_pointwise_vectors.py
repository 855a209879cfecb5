"""Point-wise functions of floats on MVE: right for any float, four at a time."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from tvm_kp import board
from tvm_kp.target import Target

op = relax.op
M4, M55 = "llvm -mcpu=cortex-m4", "llvm -mcpu=cortex-m55"
EDGES = [np.nan, np.inf, -np.inf, 7.9, -7.9, 100, -1e30, 0, -0.5, 1e-20, 3]


def outputs(model, x):
    return board.run(model, Target.load(model.target), {model.inputs[0].name: x[None]})


@pytest.mark.parametrize("core", ["cortex-m55", "cortex-m4"])
def test_any_float(core, module, model_of):
    mod = module(lambda emit, x: [emit(op.tanh(x)), emit(op.sigmoid(x))], (1, len(EDGES)))
    x = np.array([EDGES], "float32")
    tanh, sigmoid = outputs(model_of(mod, f"llvm -mcpu={core}"), x).outputs.values()
    np.testing.assert_allclose(tanh[0], np.tanh(x), rtol=0, atol=5e-7)
    np.testing.assert_allclose(sigmoid[0], 0.5 + 0.5 * np.tanh(x / 2), rtol=0, atol=5e-7)


def test_vectors_take_half_of_the_instructions(module, model_of):
    def build(emit, x):
        return [emit(op.multiply(emit(op.sigmoid(x)), emit(op.tanh(x))))]

    mod, x = module(build, (1, 64)), np.linspace(-4, 4, 64, dtype="float32")[None]
    found, scalar = (outputs(model_of(mod, t), x) for t in (M55, M4))
    for a, b in zip(found.outputs.values(), scalar.outputs.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert 2 * found.instructions[0] < scalar.instructions[0]
