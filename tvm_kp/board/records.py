"""Input arrays as a user gives them -> one array an input, a leading axis over inferences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tvm_kp.artifacts import TensorSpec
from tvm_kp.errors import InputError


def as_records(
    specs: Sequence[TensorSpec], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """``inputs`` as contiguous arrays (N, *shape) of each spec's dtype, in the order of ``specs``.

    Taken are ``shape`` (one inference), ``(N, *shape)``, and ``(N, *shape[1:])`` where
    ``shape[0]`` is 1; a dtype that casts safely is cast, NaN and infinity are data like others.

    Raises InputError naming the tensor, what was found and what is expected.
    """
    known = {spec.name for spec in specs}
    for name in inputs:
        if name not in known:
            raise InputError(f"there is no input {name!r}; the model has {_listed(specs)}")
    for spec in specs:
        if spec.name not in inputs:
            raise InputError(f"input {spec.name!r} is missing; the model has {_listed(specs)}")
    records = {spec.name: _records(spec, np.asarray(inputs[spec.name])) for spec in specs}
    counts = {name: len(array) for name, array in records.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        found = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise InputError(f"inputs need one number of inferences, at least 1; found: {found}")
    return records


def _records(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    if array.dtype == object or not np.can_cast(array.dtype, spec.dtype, "safe"):
        raise InputError(
            f"input {spec.name!r}: found dtype {array.dtype}, expected {spec.dtype}; "
            f"convert it with .astype({spec.dtype!r})"
        )
    # As the boards have it, whatever the byte order of the host or of the file.
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    return np.ascontiguousarray(_stacked(spec, array), dtype=dtype)


def _stacked(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    if array.shape == spec.shape:
        return array[np.newaxis]
    if array.shape[1:] == spec.shape and array.ndim:
        return array
    batch_of_one = spec.shape[:1] == (1,)
    if batch_of_one and array.ndim == len(spec.shape) and array.shape[1:] == spec.shape[1:]:
        return array[:, np.newaxis]
    raise InputError(
        f"input {spec.name!r}: found shape {array.shape}, expected {spec.shape}, "
        f"or {('N', *spec.shape)} for N inferences".replace("'N'", "N")
    )


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{s.name} {s.dtype}{list(s.shape)}" for s in specs)
