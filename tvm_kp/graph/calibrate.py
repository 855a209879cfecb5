"""What values the tensors of a model take, in every time step, on given inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tvm
from tvm import relax

from tvm_kp.errors import InputError
from tvm_kp.graph.observe import observer
from tvm_kp.graph.rewrite import shape_of

Record = Sequence[np.ndarray]

_BINS = 2048
_PERCENTILE = 99.99
_LEVELS = 127  # of 8 bits, to one side: more bits need no clipping


@dataclass(frozen=True)
class Range:
    """The smallest and largest value of a tensor, zero among them, and where to clip magnitudes
    that 8 bits shall hold."""

    low: float
    high: float
    clip: float

    @property
    def largest(self) -> float:
        return max(-self.low, self.high)

    def __or__(self, other: Range) -> Range:
        return Range(
            min(self.low, other.low), max(self.high, other.high), max(self.clip, other.clip)
        )


NOTHING = Range(0.0, 0.0, 0.0)
Ranges = dict[relax.Var, Range]


def calibrate(mod: tvm.IRModule, records: Sequence[Record], method: str = "min-max") -> Ranges:
    """The range of every float tensor of ``main`` and of its time steps.

    ``records`` are the inputs of ``main``, one after the other; a step's tensors are taken over
    the whole sequence, a state also before the first step. ``method`` is one of ``METHODS``.
    Raises ``InputError`` where there is no record, one does not have the inputs' shapes, or a
    tensor becomes infinite or not a number.
    """
    observe = observer(mod)
    ranges: Ranges = {}
    for record in records:
        _check(mod["main"].params, record)
        for var, values in observe(record).items():
            if not str(values.dtype).startswith("float"):
                continue
            if not np.isfinite(values).all():
                raise InputError(
                    f"the tensor {var.name} becomes infinite or not a number on the calibration "
                    "inputs; calibrate with inputs like those that the model was trained on"
                )
            low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
            ranges[var] = ranges.get(var, NOTHING) | Range(low, high, max(-low, high))
    if not ranges:
        raise InputError("there are no calibration inputs; quantizing needs at least one record")
    clip = METHODS[method]
    if clip is None:
        return ranges
    counts = {var: np.zeros(_BINS, np.int64) for var in ranges}
    for record in records:
        for var, values in observe(record).items():
            if var in counts:
                top = ranges[var].largest or 1.0
                counts[var] += np.histogram(np.abs(values), _BINS, (0.0, top))[0]
    return {var: replace(one, clip=one.largest * clip(counts[var])) for var, one in ranges.items()}


def _percentile(counts: np.ndarray) -> float:
    """The part of the range below which that percentage of all magnitudes lies."""
    below = np.cumsum(counts) / counts.sum()
    return float((np.searchsorted(below, _PERCENTILE / 100) + 1) / _BINS)


def _least_squares(counts: np.ndarray) -> float:
    """The part of the range that is best rounded to 8 bits, the rest being clipped to its end."""
    centers = (np.arange(_BINS) + 0.5) / _BINS
    ends = np.arange(_BINS // 16, _BINS + 1, _BINS // 64) / _BINS

    def error(end: float) -> float:
        clipped = np.maximum(centers - end, 0.0)
        return float((counts * clipped**2).sum() + counts.sum() * (end / _LEVELS) ** 2 / 12)

    return float(min(ends, key=error))


METHODS: dict[str, Callable[[np.ndarray], float] | None] = {
    "min-max": None,
    "percentile": _percentile,
    "mse": _least_squares,
}


def _check(params: Sequence[relax.Var], record: Record) -> None:
    expected = [(tuple(shape_of(param)), str(param.ty.dtype.dtype)) for param in params]
    found = [(x.shape, str(x.dtype)) for x in record]
    if found != expected:
        raise InputError(
            f"the calibration inputs are {_listed(found)}; the model takes {_listed(expected)}"
        )


def _listed(tensors: Sequence[tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{dtype} {'x'.join(map(str, shape))}" for shape, dtype in tensors)
