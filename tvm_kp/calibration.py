"""Calibration data as users have it -> records for calibrating: npz arrays, loaders, made up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_kp.artifacts import TensorSpec
from tvm_kp.errors import InputError
from tvm_kp.quantizations import RANDOM

LABELS = "labels"  # the array of an npz file that is no input
_RANDOM_RECORDS, _SEED = 32, 0

# What a user gives: arrays by name, batches, or the word ``random``.
Source = Mapping[str, np.ndarray] | Iterable[Any] | str


@dataclass(frozen=True)
class Calibration:
    """Inputs by name with an axis over the records in front, and the classes they belong to."""

    arrays: Mapping[str, np.ndarray]
    labels: np.ndarray | None
    source: str


def read(source: Source | None, specs: Sequence[TensorSpec]) -> Calibration:
    """Calibration inputs for a model with the inputs ``specs``.

    ``source`` maps names to arrays, is ``"random"`` for standard normal values, or gives batches
    as a ``DataLoader`` does: arrays or tensors for the inputs in order, after them the labels.
    Raises ``InputError`` for none at all, other words, and batches of fewer tensors.
    """
    if source is None:
        raise InputError(
            "no calibration inputs, from which the ranges of tensors come: give --calibration "
            "FILE.npz, or --calibration random to try what a model costs"
        )
    if isinstance(source, str):
        if source != RANDOM:
            raise InputError(f"calibration {source!r} is not known: give arrays, or {RANDOM!r}")
        return Calibration(_random(specs), None, RANDOM)
    if isinstance(source, Mapping):
        arrays = {name: np.asarray(array) for name, array in source.items()}
        inputs = {spec.name for spec in specs}
        labels = None if LABELS in inputs else arrays.pop(LABELS, None)
        return Calibration(arrays, labels, "arrays")
    return _batches(source, specs)


def _random(specs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """Normal numbers; of integers 0 and 1, which any table has an entry for."""
    random = np.random.default_rng(_SEED)

    def drawn(spec: TensorSpec) -> np.ndarray:
        shape = (_RANDOM_RECORDS, *spec.shape)
        if np.dtype(spec.dtype).kind == "f":
            return random.standard_normal(shape).astype(spec.dtype)
        return random.integers(0, 2, shape).astype(spec.dtype)

    return {spec.name: drawn(spec) for spec in specs}


def _batches(batches: Iterable[Any], specs: Sequence[TensorSpec]) -> Calibration:
    columns: list[list[np.ndarray]] = []
    for batch in batches:
        tensors = list(batch) if isinstance(batch, (tuple, list)) else [batch]
        if len(tensors) < len(specs):
            raise InputError(
                f"a batch of the calibration data has {len(tensors)} tensors; the model takes "
                f"{len(specs)}: {', '.join(spec.name for spec in specs)}"
            )
        columns = columns or [[] for _ in tensors]
        for column, tensor in zip(columns, tensors, strict=True):
            column.append(np.asarray(tensor))
    if not columns:
        raise InputError("the calibration data has no batches")
    joined = [np.concatenate([np.atleast_1d(part) for part in column]) for column in columns]
    names = [spec.name for spec in specs]
    arrays = dict(zip(names, joined, strict=False))
    return Calibration(arrays, joined[len(names)] if len(joined) > len(names) else None, "batches")


def checked_labels(given: Calibration, records: int) -> np.ndarray | None:
    """The labels, if there are; raises ``InputError`` where there are not as many as records."""
    if given.labels is None:
        return None
    labels = np.asarray(given.labels).ravel()
    if len(labels) != records or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"found {len(labels)} calibration labels ({labels.dtype}) for {records} records; "
            "give the index of the right class for each"
        )
    return labels
