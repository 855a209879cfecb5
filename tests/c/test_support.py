"""tanh and sigmoid hold their bounds everywhere; the other helpers do what they say."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tvm import relax

from tvm_kp import board
from tvm_kp.artifacts import Model
from tvm_kp.c.support import helpers
from tvm_kp.optimization import OPTIMIZE
from tvm_kp.target import Target

TANH_BOUND, SIGMOID_BOUND = 5e-7, 2.5e-7
FLAGS = {
    "plain": ("-O2", "-ffp-contract=off"),
    "contracted": ("-O3", "-ffp-contract=fast", "-mfma"),
}


def sweep() -> np.ndarray:
    """Every exponent and sign with mantissas spread over it, densest where tanh bends."""
    signs = np.arange(2, dtype=np.uint32)[:, None, None] << 31
    exponents = np.arange(255, dtype=np.uint32)[None, :, None] << 23
    mantissas = np.linspace(0, 2**23 - 1, 1501).astype(np.uint32)[None, None, :]
    spread = (signs | exponents | mantissas).ravel().view(np.float32)
    bend = np.linspace(-10, 10, 3_000_001, dtype=np.float32)
    return np.concatenate([spread, bend])


@pytest.fixture(scope="module", params=[(f, o) for f in FLAGS for o in OPTIMIZE], ids=str)
def functions(request, tmp_path_factory) -> ctypes.CDLL:
    folder: Path = tmp_path_factory.mktemp("support")
    flags, optimize = request.param
    text = "#include <stdint.h>\n" + helpers({"kp_tanhf", "kp_sigmoidf"}, optimize)
    for name in ("kp_tanhf", "kp_sigmoidf"):
        text += f"void all_{name}(const float *x, float *y, int n) {{\n"
        text += f"  for (int i = 0; i < n; ++i) y[i] = {name}(x[i]);\n}}\n"
    (folder / "f.c").write_text(text)
    command = ["gcc", "-std=c99", *FLAGS[flags], "-fPIC", "-shared", "f.c", "-o", "f.so"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "f.so"))


def evaluate(functions: ctypes.CDLL, name: str, x: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    pointers = (a.ctypes.data_as(ctypes.c_void_p) for a in (x, y))
    functions[f"all_{name}"](*pointers, len(x))
    return y


def sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x.astype("float64")))


def test_tanh_is_within_its_bound(functions: ctypes.CDLL) -> None:
    x = sweep()
    error = np.abs(evaluate(functions, "kp_tanhf", x) - np.tanh(x.astype("float64")))
    assert float(error.max()) <= TANH_BOUND, x[error.argmax()]


def test_sigmoid_is_within_its_bound(functions: ctypes.CDLL) -> None:
    x = sweep()
    error = np.abs(evaluate(functions, "kp_sigmoidf", x) - sigmoid(x))
    assert float(error.max()) <= SIGMOID_BOUND, x[error.argmax()]


def test_infinities_nan_and_denormals(functions: ctypes.CDLL) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1e-45, -1e-45, 0.0, -0.0], "float32")
    tanh, half = (evaluate(functions, name, x) for name in ("kp_tanhf", "kp_sigmoidf"))
    np.testing.assert_allclose(tanh[:2], [1, -1], rtol=0, atol=TANH_BOUND)
    np.testing.assert_allclose(half[:2], [1, 0], rtol=0, atol=SIGMOID_BOUND)
    assert np.isnan(tanh[2]) and np.isnan(half[2])
    assert np.all(np.abs(tanh[3:]) <= 2e-45) and np.all(half[3:] == 0.5)
    assert np.all(np.signbit(tanh[3:]) == np.signbit(x[3:]))


def test_the_range_is_that_of_the_functions(functions: ctypes.CDLL) -> None:
    x = sweep()
    assert np.abs(evaluate(functions, "kp_tanhf", x)).max() <= 1
    half = evaluate(functions, "kp_sigmoidf", x)
    assert half.min() >= 0 and half.max() <= 1


def test_a_sample_on_an_emulated_board(model_of: Callable[..., Model]) -> None:
    spread = sweep()
    sample = np.concatenate([spread[::2001], [np.inf, -np.inf, np.nan]]).astype("float32")
    x = relax.Var("x", relax.TensorType(sample.shape, "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            both = [builder.emit(op(x)) for op in (relax.op.tanh, relax.op.sigmoid)]
            result = builder.emit_output(relax.Tuple(both))
        builder.emit_func_output(result)
    model = model_of(builder.get(), "mps2-an386")
    found = board.run(model, Target.load("mps2-an386"), {"x": sample})
    tanh, half = (value[0] for value in found.outputs.values())
    assert np.isnan(tanh[-1]) and np.isnan(half[-1])
    assert np.abs(tanh - np.tanh(sample.astype("float64")))[:-1].max() <= TANH_BOUND
    assert np.abs(half - sigmoid(sample))[:-1].max() <= SIGMOID_BOUND


def test_only_what_is_used_and_needed_is_defined() -> None:
    assert helpers([]) == ""
    assert "kp_tanhf" in helpers(["kp_sigmoidf"])
    assert "kp_sigmoidf" not in helpers(["kp_tanhf"])
    both = helpers(["kp_sigmoidf", "kp_tanhf"])
    assert both.count("float kp_tanhf(float x) {") == 1
    with pytest.raises(KeyError):
        helpers(["expf"])
