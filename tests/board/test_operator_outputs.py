from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tvm_kp import board
from tvm_kp.artifacts import Model
from tvm_kp.errors import TargetError
from tvm_kp.target import Target

Arrays = dict[str, np.ndarray]
SCALE, COUNT = "tvmgen_hand_fused_scale", "tvmgen_hand_fused_count"


@pytest.mark.parametrize("name", ["host", "mps2-an386"])
def test_every_call_in_order(name: str, make_model: Callable[..., Model], inputs: Arrays) -> None:
    calls = board.trace_operators(make_model(), Target.load(name), inputs)
    assert [call.key for call in calls] == [(SCALE, 0, 16), (SCALE, 0, 16), (COUNT, 0, 8)] * 3
    weights = np.array([2, 3, 5, 7], np.float32)
    for x, steps, (once, twice, total) in zip(
        inputs["x"], inputs["steps"], (calls[i : i + 3] for i in (0, 3, 6)), strict=True
    ):
        np.testing.assert_array_equal(once.values, x[0] * weights)
        np.testing.assert_array_equal(twice.values, x[0] * weights * weights)
        np.testing.assert_array_equal(total.values, steps + 1)
        assert (once.values.dtype, total.values.dtype) == (np.float32, np.int64)


def test_attached_boards_have_no_files(make_model: Callable[..., Model], inputs: Arrays) -> None:
    with pytest.raises(TargetError, match="is attached"):
        board.trace_operators(make_model(), Target.load("nucleo-f446re"), inputs)


def test_the_call_that_differs_on_a_board(make_model: Callable[..., Model], inputs: Arrays) -> None:
    model = make_model()
    # What the second of the two calls gets: x * 7 with x = 3 in the first inference.
    wrong = "\n#ifdef __arm__\n  if (x[3] == 21.0f) y[3] += 0.5f;\n#endif\n}\n\nvoid"
    text = model.sources["hand_lib1.c"].replace("\n}\n\nvoid", wrong)
    model = replace(model, sources={**model.sources, "hand_lib1.c": text})
    there, here = (
        board.trace_operators(model, Target.load(t), inputs) for t in ("mps2-an386", "host")
    )
    assert board.comparable(there, here)
    found = board.first_difference(there, here, inferences=3)
    assert found == board.CallDifference(SCALE, 2, 2, 0, 0, 3, 147.5, 147.0)
    assert board.first_difference(here, here, inferences=3) is None
