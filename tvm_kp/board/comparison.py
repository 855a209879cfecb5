"""Where two runs of a model part: outputs, and what operators gave, within a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tvm_kp.board.operator_outputs import CallOutput

# Of the largest value: what floats may differ by, since cores round sums and products differently.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class CallDifference:
    """The largest difference in output ``output`` of a call of ``operator``.

    It is the ``call``-th, from 1, of the ``calls`` in its ``inference``, from 0; ``index`` is that
    of the two values in the flat output.
    """

    operator: str
    call: int
    calls: int
    inference: int
    output: int
    index: int
    found: float
    expected: float


def differences(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """|found - expected| as float64: 0 where both are NaN or one infinity, NaN where one is NaN."""
    one, other = found.astype(np.float64), expected.astype(np.float64)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    return np.abs(np.subtract(one, other, where=~same, out=np.zeros_like(one)))


def magnitude(values: np.ndarray) -> float:
    """The largest absolute value of those that are finite."""
    sizes = np.abs(values.astype(np.float64))
    return float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))


def beyond(found: np.ndarray, expected: np.ndarray, largest: float) -> np.ndarray:
    """Which values differ: integers at all, floats by more than `TOLERANCE` of ``largest``."""
    allowed = TOLERANCE * largest if expected.dtype.kind == "f" else 0.0
    return ~(differences(found, expected) <= allowed)


def comparable(found: Sequence[CallOutput], expected: Sequence[CallOutput]) -> bool:
    """Whether two traces are of the same operators, with outputs as large, in the same order."""
    return [call.key for call in found] == [call.key for call in expected]


def first_difference(
    found: Sequence[CallOutput], expected: Sequence[CallOutput], inferences: int
) -> CallDifference | None:
    """Where ``found`` first differs from ``expected``; they are comparable, of ``inferences``.

    Floats are measured by the largest value that any call has for the same output.
    """
    largest: dict[tuple[str, int, int], float] = {}
    for call in expected:
        largest[call.key] = max(largest.get(call.key, 0.0), magnitude(call.values))
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        if beyond(one.values, other.values, largest[other.key]).any():
            return _difference(one, expected, place, len(expected) // inferences)
    return None


def _difference(
    found: CallOutput, expected: Sequence[CallOutput], place: int, length: int
) -> CallDifference:
    """How ``found`` differs from what is at ``place``; an inference has ``length`` outputs."""
    inference, wanted = place // length, expected[place]
    begin = inference * length
    same = [call.key == wanted.key for call in expected[begin : begin + length]]
    index = int(np.argmax(differences(found.values, wanted.values)))
    return CallDifference(
        operator=wanted.operator,
        call=sum(same[: place - begin + 1]),
        calls=sum(same),
        inference=inference,
        output=wanted.output,
        index=index,
        found=float(found.values[index]),
        expected=float(wanted.values[index]),
    )
