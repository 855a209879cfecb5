"""Calibration data in every form that users have it in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from tvm_kp import calibration
from tvm_kp.artifacts import TensorSpec
from tvm_kp.errors import InputError

SPECS = (TensorSpec("x", (1, 3, 2), "float32"),)
X = np.arange(60, dtype="float32").reshape(10, 3, 2)
Y = np.arange(10)


def test_arrays_by_name_with_labels_beside_them():
    given = calibration.read({"x": X, "labels": Y}, SPECS)
    assert given.arrays.keys() == {"x"} and given.source == "arrays"
    np.testing.assert_array_equal(calibration.checked_labels(given, 10), Y)


def test_an_input_may_be_called_labels():
    specs = (TensorSpec("labels", (2,), "int64"),)
    given = calibration.read({"labels": Y}, specs)
    assert given.arrays.keys() == {"labels"} and given.labels is None


def test_a_loader_gives_batches_and_labels():
    loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=4)
    given = calibration.read(loader, SPECS)
    np.testing.assert_array_equal(given.arrays["x"], X)
    np.testing.assert_array_equal(given.labels, Y)
    bare = calibration.read(DataLoader(torch.from_numpy(X), batch_size=3), SPECS)
    np.testing.assert_array_equal(bare.arrays["x"], X)
    assert bare.labels is None


def test_random_is_asked_for_by_name_and_repeats():
    first, second = (calibration.read("random", SPECS) for _ in range(2))
    assert first.source == "random" and first.arrays["x"].shape[1:] == (1, 3, 2)
    np.testing.assert_array_equal(first.arrays["x"], second.arrays["x"])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "--calibration FILE.npz"),
        ("randon", "'randon' is not known"),
        ([], "no batches"),
        ([[]], "has 0 tensors; the model takes 1: x"),
    ],
)
def test_what_is_no_calibration_data(source, words):
    with pytest.raises(InputError, match=words):
        calibration.read(source, SPECS)


@pytest.mark.parametrize("labels", [Y[:4], Y.astype("float32")])
def test_labels_that_do_not_fit(labels):
    given = calibration.read({"x": X, "labels": labels}, SPECS)
    with pytest.raises(InputError, match=r"labels .* for 10 records"):
        calibration.checked_labels(given, 10)


def test_random_integers_are_indices_of_any_table():
    spec = TensorSpec("word", (3,), "int64")
    values = calibration.read(calibration.RANDOM, [spec]).arrays["word"]
    assert values.dtype == "int64" and set(np.unique(values)) == {0, 1}
