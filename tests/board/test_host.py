from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tvm_kp import board
from tvm_kp.artifacts import Model
from tvm_kp.errors import InputError, MissingToolError, RunError
from tvm_kp.target import Target

HOST = Target.load("host")
Arrays = dict[str, np.ndarray]


def test_outputs_and_seconds(
    make_model: Callable[..., Model], inputs: Arrays, expected: Arrays
) -> None:
    found = board.run(make_model(), HOST, inputs, profile=True)
    for key, value in expected.items():
        np.testing.assert_array_equal(found.outputs[key], value)
        assert found.outputs[key].dtype == value.dtype
    assert len(found.seconds) == 3 and all(0 < s < 1 for s in found.seconds)
    assert found.instructions == () and found.operators == ()


def test_a_rebuilt_library_is_the_one_that_runs(
    make_model: Callable[..., Model], inputs: Arrays, tmp_path: Path
) -> None:
    project = board.create(make_model(), HOST, tmp_path / "p")
    source = project.directory / "model" / "hand_lib1.c"
    for added in (1, 2, 3):
        text = source.read_text().replace(f"*steps + {added - 1}", f"*steps + {added}")
        source.write_text(text)
        found = project.run(inputs).outputs["output1"]
        np.testing.assert_array_equal(found, inputs["steps"] + added)


def test_a_model_that_says_it_failed(make_model: Callable[..., Model], inputs: Arrays) -> None:
    inputs["steps"][2] = -7
    with pytest.raises(RunError, match="model hand answered -1 to inference 2"):
        board.run(make_model(), HOST, inputs)


def test_missing_compiler(
    make_model: Callable[..., Model], inputs: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingToolError, match="sudo apt-get install gcc"):
        board.run(make_model(), HOST, inputs)


def test_inputs_are_checked_before_anything_is_built(
    make_model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="'x' is missing"):
        board.run(make_model(), HOST, {})
