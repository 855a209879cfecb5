from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tvm import te, tirx

from tvm_kp.tuning import Task
from tvm_kp.tuning.samples import Sample, samples_of


def made(function: tirx.PrimFunc, results: int = 1, **constants: np.ndarray) -> Task:
    return Task("f", "key", "f", function, 1, frozenset(), (), constants, results, ())


def test_results_are_those_of_numpy(task: Task, samples: list[Sample]) -> None:
    assert len(samples) == 3
    for sample in samples:
        x, weights, bias = sample.operands
        assert weights is task.constants[1] and bias is task.constants[2]
        np.testing.assert_allclose(sample.expected[0], x @ weights + bias, rtol=0, atol=1e-4)
    first, second, third = (sample.operands[0] for sample in samples)
    assert np.abs(second).max() < np.abs(first).max() < np.abs(third).max() == 100


def test_samples_are_the_same_in_every_session(task: Task, samples: list[Sample]) -> None:
    for one, other in zip(samples, samples_of(task), strict=True):
        for mine, theirs in zip(one.operands, other.operands, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_integers_reach_the_limits_of_their_type(dtype: str) -> None:
    x = te.placeholder((64,), dtype, name="x")
    function = te.create_prim_func([x, te.compute((64,), lambda i: x[i])])
    anything, small, extreme = (sample.operands[0] for sample in samples_of(made(function)))
    info = np.iinfo(dtype)
    assert {info.min, 0, info.max} == set(extreme.tolist())
    assert anything.max() > info.max // 2 and small.max() <= info.max // 8
    assert {array.dtype for array in (anything, small, extreme)} == {np.dtype(dtype)}


def test_truth_values() -> None:
    x = te.placeholder((64,), "bool", name="x")
    function = te.create_prim_func([x, te.compute((64,), lambda i: tirx.Not(x[i]))])
    anything, *_ = samples_of(made(function))
    assert set(anything.operands[0].tolist()) == {False, True}
    np.testing.assert_array_equal(anything.expected[0], ~anything.operands[0])


def test_indices_lie_inside_of_what_is_read() -> None:
    """What lies outside of a table may end the process that reads it."""
    table, rows = te.placeholder((12, 5), name="table"), te.placeholder((64,), "int32", name="rows")
    function = te.create_prim_func(
        [table, rows, te.compute((64, 5), lambda i, j: table[rows[i], j])]
    )
    for sample in samples_of(made(function)):
        read, at = sample.operands
        assert at.min() >= 0 and at.max() <= 11
        np.testing.assert_array_equal(sample.expected[0], read[at])


def test_integers_agree_bit_for_bit() -> None:
    sample = Sample((), (np.array([5, -7], "int16"),))
    assert sample.agrees((np.array([5, -7], "int16"),))
    assert not sample.agrees((np.array([5, -6], "int16"),))


@pytest.mark.parametrize(("off", "agrees"), [(0.0, True), (1e-3, True), (0.1, False)])
def test_sums_of_floats_may_have_another_order(off: float, agrees: bool) -> None:
    sample = Sample((), (np.array([1000, 1], "float32"),))
    assert sample.agrees((np.array([1000, 1 + off], "float32"),)) is agrees


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_wrong(samples: list[Sample], value: float) -> None:
    (right,) = samples[0].expected
    wrong = right.copy()
    wrong[0, 0] = value
    assert samples[0].agrees((right,)) and not samples[0].agrees((wrong,))
    assert not replace(samples[0], expected=(right, right)).agrees((right, wrong))
