"""Constants reach a kernel in the order that it asks for."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from tvm import relax, tirx

from tvm_kp.artifacts import PACKING, Packing
from tvm_kp.c.packing import packed_operands

TRANSPOSED = Packing(shape=(2, 3), pad=(0, 0), parts=(2, 3), order=(1, 0))


def kernel() -> tirx.PrimFunc:
    """One that wants its second operand transposed."""
    entries = {1: asdict(TRANSPOSED)}
    return tirx.PrimFunc([], tirx.Evaluate(0)).with_attr(PACKING, json.dumps(entries))


def test_a_constant_is_packed() -> None:
    x = relax.Var("x", relax.TensorType((2, 3), "int8"))
    weights = relax.const(np.arange(6, dtype="int8").reshape(2, 3))
    first, second = packed_operands(kernel(), [x, weights])
    assert first is x
    expected = np.array([0, 3, 1, 4, 2, 5], "int8")
    np.testing.assert_array_equal(second.value.numpy(), expected, strict=True)


def test_other_kernels_take_operands_as_they_are() -> None:
    weights = relax.const(np.zeros((2, 3), "int8"))
    assert packed_operands(tirx.PrimFunc([], tirx.Evaluate(0)), [weights]) == [weights]


def test_what_is_no_constant_cannot_be_packed() -> None:
    x = relax.Var("x", relax.TensorType((2, 3), "int8"))
    with pytest.raises(AssertionError, match="no constant"):
        packed_operands(kernel(), [x, x])
