from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.artifacts import TensorSpec
from tvm_kp.board.records import as_records
from tvm_kp.errors import InputError

X = TensorSpec("x", (1, 4), "float32")
STEPS = TensorSpec("steps", (), "int64")


@given(st.lists(st.integers(1, 4), max_size=3), st.integers(1, 5))
def test_every_accepted_form_is_the_same_records(shape: list[int], count: int) -> None:
    spec = TensorSpec("x", tuple(shape), "float32")
    data = np.arange(count * int(np.prod(shape)), dtype=np.float32).reshape(count, *shape)
    forms = [data]
    if count == 1:
        forms.append(data[0])
    if shape[:1] == [1]:
        forms.append(data[:, 0])
    for form in forms:
        found = as_records([spec], {"x": form})["x"]
        # (n, ...) can also be one inference of that very shape, which then is what it means.
        want = form[None] if form.shape == spec.shape else data
        np.testing.assert_array_equal(found, want)
        assert found.flags.c_contiguous and found.dtype == np.float32


def test_order_is_that_of_the_model() -> None:
    given_inputs = {"steps": np.int64(3), "x": np.zeros((1, 4), np.float32)}
    assert list(as_records([X, STEPS], given_inputs)) == ["x", "steps"]


def test_safe_casts_foreign_byte_order_and_nan() -> None:
    assert as_records([X], {"x": np.ones((2, 4), np.int8)})["x"].dtype == np.float32
    swapped = np.array([[1, np.nan, np.inf, 4]], ">f4")
    found = as_records([X], {"x": swapped})["x"]
    assert found.tobytes() == swapped.astype("<f4").tobytes()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, ["'x'", "missing", "x float32[1, 4]"]),
        ({"x": np.zeros((1, 4), np.float32), "y": np.zeros(1)}, ["'y'", "no input"]),
        ({"x": np.zeros((1, 4))}, ["'x'", "float64", "float32", "astype"]),
        ({"x": np.array([[None] * 4])}, ["'x'", "object"]),
        ({"x": np.zeros((1, 5), np.float32)}, ["'x'", "(1, 5)", "(1, 4)", "(N, 1, 4)"]),
        ({"x": np.float32(1)}, ["'x'", "()", "(1, 4)"]),
        ({"x": np.zeros((0, 4), np.float32)}, ["at least 1", "x has 0"]),
    ],
)
def test_refused(inputs: dict[str, np.ndarray], words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        as_records([X], inputs)
    assert all(word in str(error.value) for word in words)


def test_inputs_of_different_length_are_refused() -> None:
    inputs = {"x": np.zeros((2, 4), np.float32), "steps": np.zeros(3, np.int64)}
    with pytest.raises(InputError, match="x has 2, steps has 3"):
        as_records([X, STEPS], inputs)
