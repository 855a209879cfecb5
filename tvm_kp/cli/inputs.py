"""The inputs of a run: read from an npz file, or made up."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tvm_kp.artifacts import TensorSpec
from tvm_kp.errors import InputError

SEED = 0


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name; ``InputError`` if it is not one."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise InputError(f"{path} holds one unnamed array: save with np.savez(file, name=x)")
        with loaded as archive:
            return dict(archive)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'it is no npz file'}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read {path}: it is no npz file of plain arrays") from error


def complete(
    given: Mapping[str, np.ndarray], specs: Iterable[TensorSpec], mode: str | None
) -> dict[str, np.ndarray]:
    """``given`` with the inputs it lacks made up, as many as it has inferences.

    Without a ``mode`` only a wholly empty ``given`` is filled, with random values.
    """
    wanted = tuple(specs)
    missing = [spec for spec in wanted if spec.name not in given]
    if given and missing and mode is None:
        raise InputError(
            f"no values for {_list(s.name for s in missing)} among the inputs {_list(given)}; "
            "add them, or let --fill-mode make them up"
        )
    count = inferences(given, wanted)
    generator = np.random.default_rng(SEED)
    filled = {spec.name: _fill(spec, count, mode or "random", generator) for spec in missing}
    return {**given, **filled}


def inferences(given: Mapping[str, np.ndarray], specs: Iterable[TensorSpec]) -> int | None:
    """How many inferences the arrays are for, or None where they have the model's own shapes."""
    for spec in specs:
        array = given.get(spec.name)
        if array is not None and array.ndim and array.shape != spec.shape:
            return len(array)
    return None


def _fill(
    spec: TensorSpec, count: int | None, mode: str, generator: np.random.Generator
) -> np.ndarray:
    shape = spec.shape if count is None else (count, *spec.shape)
    dtype = np.dtype(spec.dtype)
    if mode == "zeros":
        return np.zeros(shape, dtype)
    if mode == "ones":
        return np.ones(shape, dtype)
    if dtype.kind in "iu":
        # Indices into a table are the usual integers: 0 and 1 fit any.
        return generator.integers(0, 2, shape, dtype)
    return generator.uniform(-1, 1, shape).astype(dtype)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
