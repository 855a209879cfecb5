from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.artifacts import TensorSpec
from tvm_kp.cli import inputs
from tvm_kp.errors import InputError

X = TensorSpec("x", (1, 3, 2), "float32")
WORD = TensorSpec("word", (4,), "int64")


def test_read_npz(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones(2))
    assert list(inputs.read_npz(tmp_path / "x.npz")) == ["x"]


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04cut off", pickle.dumps([1])])
def test_read_refuses_other_files(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npz"):
        inputs.read_npz(path)


def test_read_refuses_npy_missing_and_objects(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(2))
    np.savez(tmp_path / "o.npz", x=np.array([None, {}], dtype=object))
    for name, found in (("x.npy", "unnamed"), ("none.npz", "No such file"), ("o.npz", "plain")):
        with pytest.raises(InputError, match=found):
            inputs.read_npz(tmp_path / name)


@given(st.sampled_from(["zeros", "ones", "random"]), st.none() | st.integers(1, 5))
def test_made_up_inputs_fit_and_repeat(mode, count):
    lead = () if count is None else (count,)
    given_x = {"x": np.zeros((*lead, 1, 3, 2), "float32")}
    first = inputs.complete(given_x, (X, WORD), mode)
    second = inputs.complete(given_x, (X, WORD), mode)
    assert first["word"].shape == (*lead, 4)
    assert first["word"].dtype == np.int64
    np.testing.assert_array_equal(first["word"], second["word"])


def test_fill_modes():
    for mode, value in (("zeros", 0), ("ones", 1)):
        np.testing.assert_array_equal(
            inputs.complete({}, (X,), mode)["x"], np.full(X.shape, value, X.dtype)
        )
    made = inputs.complete({}, (X,), None)["x"]
    assert made.dtype == np.float32
    assert np.abs(made).max() <= 1 and made.std() > 0


def test_missing_inputs_are_made_up_only_when_asked():
    with pytest.raises(InputError, match="no values for word"):
        inputs.complete({"x": np.zeros(X.shape)}, (X, WORD), None)


@pytest.mark.parametrize(
    ("shape", "count"), [((1, 3, 2), None), ((7, 1, 3, 2), 7), ((7, 3, 2), 7), ((1, 1, 3, 2), 1)]
)
def test_inferences(shape, count):
    assert inputs.inferences({"x": np.zeros(shape)}, (X,)) == count
