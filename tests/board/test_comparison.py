from __future__ import annotations

import numpy as np
import pytest

from tvm_kp.board import CallOutput, beyond, comparable, differences, first_difference, magnitude

NAN, INF = float("nan"), float("inf")


def outputs(*values: list[float], dtype: str = "float32", operator: str = "cell"):
    return [CallOutput(operator, 0, np.array(one, dtype)) for one in values]


def test_what_is_no_number() -> None:
    found, expected = np.array([NAN, INF, NAN, 1, INF]), np.array([NAN, INF, 1, INF, -INF])
    np.testing.assert_array_equal(differences(found, expected), [0, 0, NAN, INF, INF])
    assert beyond(found, expected, 1.0).tolist() == [False, False, True, True, True]
    assert magnitude(expected) == 1 and magnitude(np.array([NAN])) == 0


@pytest.mark.parametrize(
    ("dtype", "change", "differs"),
    [("float32", 1e-4, False), ("float32", 3e-3, True), ("int16", 1, True), ("bool", 1, True)],
)
def test_tolerance(dtype: str, change: float, differs: bool) -> None:
    expected, found = np.array([0, 100], dtype), np.array([change, 100], dtype)
    assert beyond(found, expected, 100.0).tolist() == [differs, False]


def test_floats_are_measured_by_all_calls_of_an_output() -> None:
    expected = outputs([0.0, 0.0], [0.0, 50.0], [0.0, 1.0])
    assert first_difference(outputs([1e-4, 0], [0, 50], [0, 1]), expected, 1) is None
    found = first_difference(outputs([0, 0], [0, 50], [0.5, NAN]), expected, 1)
    assert found is not None
    assert (found.call, found.calls, found.index) == (3, 3, 1)
    assert np.isnan(found.found) and found.expected == 1


def test_calls_are_counted_in_their_inference() -> None:
    once = [*outputs([1], [2], dtype="int8"), *outputs([3], operator="head", dtype="int8")]
    later = [*outputs([1], [7], dtype="int8"), *outputs([3], operator="head", dtype="int8")]
    found = first_difference([*once, *later], [*once, *once], 2)
    assert found is not None
    assert (found.operator, found.inference, found.call, found.calls) == ("cell", 1, 2, 2)


def test_traces_of_other_operators() -> None:
    assert comparable(outputs([1], [2]), outputs([3], [4]))
    assert not comparable(outputs([1], [2]), outputs([3]))
    assert not comparable(outputs([1]), outputs([1], operator="head"))
    assert not comparable(outputs([1]), outputs([1, 2]))
