from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tvm import tirx
from tvm.script import tirx as T

from tvm_kp import board
from tvm_kp.c.trial import trial_source
from tvm_kp.target import Target


@T.prim_func(private=True)
def scaled(
    x: T.Buffer((6,), "float32"),
    k: T.Buffer((2,), "int16"),
    y: T.Buffer((6,), "float32"),
    scratch: T.Buffer((6,), "float32"),
):
    for i in range(6):
        scratch[i] = x[i] * T.float32(2)
    for i in range(6):
        y[i] = scratch[i] + T.Cast("float32", k[0])


X, K = np.arange(6, dtype="float32"), np.array([5, -1], "int16")
# Out of order, as nothing says that memory lies as parameters do.
OFFSETS = {"x": 96, "k": 160, "y": 16, "scratch": 48}
EXPECTED = 2 * X + 5


def memory() -> np.ndarray:
    content = np.full(192, 0xA5, np.uint8)
    for name, array in {"x": X, "k": K}.items():
        content[OFFSETS[name] : OFFSETS[name] + array.nbytes] = array.view(np.uint8)
    return content


def source(symbol: str, aliased: tuple[int, ...] = ()) -> str:
    assert isinstance(scaled, tirx.PrimFunc)
    return trial_source(scaled, symbol, list(OFFSETS.values()), aliased)


def assert_right(after: np.ndarray) -> None:
    y = slice(OFFSETS["y"], OFFSETS["y"] + EXPECTED.nbytes)
    np.testing.assert_array_equal(after[y].view("float32"), EXPECTED)
    changed = np.flatnonzero(after != memory())
    ours = [*range(y.start, y.stop), *range(OFFSETS["scratch"], OFFSETS["scratch"] + 24)]
    assert set(changed) <= set(ours)


def test_it_does_here_what_the_kernel_does(compile_strictly, tmp_path: Path) -> None:
    compile_strictly({"trial.c": source("trial")}, "host")
    library = tmp_path / "trial.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", tmp_path / "trial.c", "-o", library, "-lm"], check=True
    )
    content = memory()
    ctypes.CDLL(str(library)).trial(content.ctypes.data_as(ctypes.c_void_p))
    assert_right(content)


def test_it_does_so_on_a_board(tmp_path: Path) -> None:
    target = Target.load("mps2-an386")
    trials = []
    # Two in one image: nothing that one defines is called like what the other does.
    for symbol in ("one", "two"):
        made = board.compile_trial(source(symbol), symbol, target, tmp_path)
        trials.append(board.Trial(symbol, made, (memory(),)))
    for result in board.run_trials(trials, target, limit=1_000_000):
        assert result.failure == ""
        assert_right(result.runs[0].memory)


@pytest.mark.parametrize("target", ["host", "mps2-an386", "mps3-an547"])
def test_the_c_pleases_strict_compilers(compile_strictly, target: str) -> None:
    compile_strictly({"trial.c": source("trial")}, target)


def test_operands_that_share_memory_are_not_promised_to_differ() -> None:
    assert source("trial").count("restrict") - source("trial", aliased=(0, 2)).count("restrict") > 0
