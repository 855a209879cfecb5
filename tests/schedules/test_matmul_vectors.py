"""Products of floats with vectors: fewer instructions than with scalars, the same sums."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from tvm_kp import board, graph
from tvm_kp.kernel.schedule import schedule
from tvm_kp.target import Target

op = relax.op


@pytest.mark.parametrize("shape", [(1, 30, 40), (5, 17, 8)])
def test_vectors_take_fewer_instructions(shape, module, model_of):
    rows, depth, columns = shape
    random = np.random.default_rng(0)
    w = random.uniform(-1, 1, (depth, columns)).astype("float32")
    x = random.uniform(-1, 1, (rows, depth)).astype("float32")
    mod = module(lambda emit, x: [emit(op.matmul(x, relax.const(w)))], (rows, depth))
    counts = []
    for target in ("llvm -mcpu=cortex-m55", "llvm -mcpu=cortex-m4"):
        model = model_of(mod, target)
        found = board.run(model, Target.load(target), {model.inputs[0].name: x[None]})
        (output,) = found.outputs.values()
        np.testing.assert_allclose(output[0], x @ w, rtol=0, atol=1e-5)
        counts += found.instructions
    assert 3 * counts[0] < 2 * counts[1]


def test_other_columns_are_left_to_scalars(module):
    mod = graph.legalize()(module(lambda emit, x, y: [emit(op.matmul(x, y))], (1, 8), (8, 6)))
    kernels = schedule(mod, Target.load("mps3-an547").isa, kind="llvm")
    assert "vectorized" not in "".join(kernel.script() for kernel in kernels.values())
