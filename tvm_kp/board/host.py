"""Running a model on this computer: its C as a shared library, called in process."""

from __future__ import annotations

import ctypes
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from tvm_kp import scratch
from tvm_kp.artifacts import Model, RunResult
from tvm_kp.board.transport import PipeTransport
from tvm_kp.errors import RunError
from tvm_kp.target import Target


def run(
    build: Callable[[bool], Path],
    model: Model,
    target: Target,
    records: Mapping[str, np.ndarray],
    profile: bool,
    timeout_s: float,
) -> RunResult:
    """Run the library that ``build`` makes on every record; seconds are of the calls alone.

    Nothing is counted here, so ``profile`` adds nothing; nor can a call in this process be
    ended, so ``timeout_s`` bounds nothing. Raises RunError if the model says that it failed.
    """
    return _run(_load(build(False)), model, records)


def trace(
    image: Path,
    model: Model,
    target: Target,
    records: Mapping[str, np.ndarray],
    timeout_s: float,
) -> Iterable[tuple[int, int, bytes]]:
    """What the hooks of the library ``image`` see: operator, which output, its bytes.

    As of `run`, ``timeout_s`` bounds nothing. Raises RunError.
    """
    seen: list[tuple[int, int, bytes]] = []

    @ctypes.CFUNCTYPE(None, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)
    def see(operator: int, output: int, data: int, nbytes: int) -> None:
        seen.append((operator, output, ctypes.string_at(data, nbytes)))

    library = _load(image)
    library.kp_host_trace(see)
    _run(library, model, records)
    return seen


def _run(library: ctypes.CDLL, model: Model, records: Mapping[str, np.ndarray]) -> RunResult:
    ins = [_view(library.kp_host_input(i), t.nbytes) for i, t in enumerate(model.inputs)]
    outs = [_view(library.kp_host_output(i), t.nbytes) for i, t in enumerate(model.outputs)]
    count = len(next(iter(records.values())))
    outputs = {t.name: np.empty((count, *t.shape), t.dtype) for t in model.outputs}
    seconds = []
    library.kp_host_start()
    for index in range(count):
        for buffer, array in zip(ins, records.values(), strict=True):
            buffer[:] = np.frombuffer(array[index].tobytes(), np.uint8)
        begin = time.perf_counter()
        status = library.kp_host_run()
        seconds.append(time.perf_counter() - begin)
        if status != 0:
            raise RunError(f"model {model.name} answered {status} to inference {index}")
        for buffer, array, spec in zip(outs, outputs.values(), model.outputs, strict=True):
            array[index] = buffer.view(spec.dtype).reshape(spec.shape)
    return RunResult(outputs, seconds=tuple(seconds))


def connect(image: Path, target: Target) -> PipeTransport:
    """The line to a fresh process of the firmware ``image``."""

    def explain(text: str, status: int) -> str:
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return (
            f"the firmware on {target.name} ended {how}: {' '.join(text.split()) or 'no message'}"
        )

    return PipeTransport([str(image)], explain)


def _load(path: Path) -> ctypes.CDLL:
    """The library at ``path``, loaded from a copy whose name no other load has had.

    The loader knows libraries by name: at an old name it may answer with an old one.
    """
    with scratch.folder() as folder:
        copy = shutil.copy2(path, folder / path.name)
        library = ctypes.CDLL(str(copy))
    for name in ("kp_host_input", "kp_host_output"):
        getattr(library, name).restype = ctypes.c_void_p
        getattr(library, name).argtypes = (ctypes.c_int32,)
    for name in ("kp_host_start", "kp_host_run"):
        getattr(library, name).restype = ctypes.c_int32
    return library


def _view(address: int, nbytes: int) -> np.ndarray:
    """The bytes at ``address`` as an array that shares them."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
