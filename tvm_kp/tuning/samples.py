"""Operands that a kernel is run with while it is tuned, and what it must make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad, Var

from tvm_kp.tuning.tasks import Task

SEED = 0
Draw = Callable[[np.random.Generator, tuple[int, ...], np.dtype], np.ndarray]
_TOLERANCE = 1e-5  # of floats, relative to the largest result: the order of sums is not fixed


@dataclass(frozen=True)
class Sample:
    """``operands`` of a kernel, and the results that TVM's own schedule gives on this computer."""

    operands: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]

    def agrees(self, found: tuple[np.ndarray, ...]) -> bool:
        """Whether results are right: bit for bit if they are integers."""
        return all(map(_same, found, self.expected))


def samples_of(task: Task) -> list[Sample]:
    """Random operands, small ones, and the extremes; constants are those of the model."""
    mod = tvm.IRModule({"main": task.function.with_attr("global_symbol", "main")})
    reference = tvm.compile(mod, target="llvm")
    return [_sample(task, reference, operands) for operands in _operands(task)]


def _operands(task: Task) -> Iterator[tuple[np.ndarray, ...]]:
    random = np.random.default_rng(SEED)
    params = task.function.params[: len(task.function.params) - task.results]
    extents = _indexed(task.function)

    def operand(param: Var, draw: Draw) -> np.ndarray:
        shape, dtype = tuple(int(size) for size in param.shape), np.dtype(str(param.dtype))
        if param in extents:
            return random.integers(0, extents[param], shape, dtype)
        return draw(random, shape, dtype)

    for draw in (_uniform, _small, _extreme):
        yield tuple(
            task.constants[index] if index in task.constants else operand(param, draw)
            for index, param in enumerate(params)
        )


def _indexed(function: tirx.PrimFunc) -> dict[Var, int]:
    """Buffers whose elements are indices of others, and below what those must be: what is read
    elsewhere may end this process."""
    extents: dict[Var, int] = {}

    def note(load: TensorLoad) -> None:
        for index, size in zip(load.indices, load.source.shape, strict=True):

            def bound(inner: TensorLoad, size: int = int(size)) -> None:
                extents[inner.source] = min(size, extents.get(inner.source, size))

            tvm_ffi.structural_walk(index, (TensorLoad, bound))

    tvm_ffi.structural_walk(function.body, (TensorLoad, note))
    return extents


def _sample(task: Task, reference: tvm.runtime.Module, operands: tuple[np.ndarray, ...]) -> Sample:
    results = [
        tvm.runtime.tensor(np.zeros([int(size) for size in param.shape], str(param.dtype)))
        for param in task.function.params[len(operands) :]
    ]
    reference["main"](*map(tvm.runtime.tensor, operands), *results)
    return Sample(operands, tuple(result.numpy() for result in results))


def _uniform(random: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    return random.integers(*_limits(dtype), shape, dtype, endpoint=True)


def _small(random: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return (random.standard_normal(shape) / 16).astype(dtype)
    low, high = _limits(dtype)
    return random.integers(low // 8, high // 8, shape, dtype, endpoint=True)


def _extreme(random: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return random.choice(np.array([-100, -1, 0, 1, 100], dtype), shape)
    low, high = _limits(dtype)
    return random.choice(np.array([low, 0, high], dtype), shape)


def _limits(dtype: np.dtype) -> tuple[int, int]:
    if dtype.kind == "b":
        return 0, 1
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def _same(found: np.ndarray, expected: np.ndarray) -> bool:
    if expected.dtype.kind != "f":
        return np.array_equal(found, expected)
    largest = max(1.0, float(np.abs(expected).max(initial=0.0)))
    return bool(np.allclose(found, expected, rtol=0, atol=_TOLERANCE * largest))
