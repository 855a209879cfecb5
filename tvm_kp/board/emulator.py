"""Running a firmware in QEMU, where every instruction lasts equally long and can be counted."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tvm_kp import scratch
from tvm_kp.artifacts import Model, OperatorCount, RunResult
from tvm_kp.board import toolchain
from tvm_kp.board.transport import PipeTransport
from tvm_kp.errors import MissingToolError, RunError
from tvm_kp.target import Target

_TRACED = struct.Struct("<III")  # in front of each output in trace.bin, as src/main.c says it

# Bits of CFSR that name a cause, the most telling first.
_CAUSES = (
    (1 << 4 | 1 << 12 | 1 << 20, "out of stack"),
    (1 << 15, "data access to {BFAR}"),
    (1 << 7, "data access to {MMFAR}"),
    (1 << 10, "data access, address unknown"),
    (1 << 0 | 1 << 8, "jump to where there is no code"),
    (1 << 17 | 1 << 18, "jump to an address that is not Thumb code"),
    (1 << 19, "coprocessor instruction: the FPU or MVE is absent or off"),
    (1 << 16, "undefined instruction"),
    (1 << 24, "unaligned access"),
    (1 << 25, "division by zero"),
)


def run(
    build: Callable[[bool], Path],
    model: Model,
    target: Target,
    records: Mapping[str, np.ndarray],
    profile: bool,
    timeout_s: float,
) -> RunResult:
    """Run the firmware that ``build`` makes on every record, all in one start of QEMU.

    Instructions are always those of the build without hooks; with ``profile`` a second build
    with hooks is run for the operators' counts.

    Raises MissingToolError, and RunError for a fault, a time-out or a model that failed.
    """
    _find(target)
    table = _start(build(False), model, target, records, False, timeout_s)
    operators: tuple[OperatorCount, ...] = ()
    if profile and model.operators:
        operators = _operators(model, _start(build(True), model, target, records, True, timeout_s))
    return RunResult(
        outputs={t.name: table[f"output {t.name}"].astype(t.dtype) for t in model.outputs},
        instructions=tuple(int(n) for n in table["instructions"]),
        operators=operators,
    )


def trace(
    image: Path,
    model: Model,
    target: Target,
    records: Mapping[str, np.ndarray],
    timeout_s: float,
) -> Iterable[tuple[int, int, bytes]]:
    """What the hooks of the firmware ``image`` saw: operator, which output, its bytes.

    Raises MissingToolError, RunError.
    """
    with _ran(image, target, records, timeout_s) as folder:
        content = (folder / "trace.bin").read_bytes()
    place = 0
    while place < len(content):
        operator, output, nbytes = _TRACED.unpack_from(content, place)
        place += _TRACED.size
        yield operator, output, content[place : place + nbytes]
        place += nbytes


def connect(image: Path, target: Target) -> PipeTransport:
    """The serial line of a fresh start of the firmware ``image``. Raises MissingToolError."""

    def explain(text: str, status: int) -> str:
        return failure(text, status, image, target)

    # Of QEMU's lines a pipe is the quickest to notice who listens: of a pty it asks once a second.
    return PipeTransport(command(image, target, serial="stdio"), explain)


def medians(model: Model, calls: np.ndarray, counts: np.ndarray) -> tuple[OperatorCount, ...]:
    """Each operator's medians of arrays (inferences, operators)."""
    return tuple(
        OperatorCount(operator.name, round(float(c)), round(float(i)))
        for operator, c, i in zip(
            model.operators, np.median(calls, axis=0), np.median(counts, axis=0), strict=True
        )
    )


def _operators(model: Model, table: np.ndarray) -> tuple[OperatorCount, ...]:
    """Each operator's median over the inferences."""
    return medians(model, table["operators"]["calls"], table["operators"]["instructions"])


def _start(
    image: Path,
    model: Model,
    target: Target,
    records: Mapping[str, np.ndarray],
    profile: bool,
    timeout_s: float,
) -> np.ndarray:
    """What the firmware ``image`` wrote: one entry of `_record_type` a record."""
    count = len(next(iter(records.values())))
    with _ran(image, target, records, timeout_s) as folder:
        table = np.fromfile(folder / "outputs.bin", _record_type(model, profile))
    if len(table) != count:
        raise RunError(f"{target.name} wrote {len(table)} of {count} results; build it again")
    for index in np.flatnonzero(table["status"]):
        status = table["status"][index]
        raise RunError(f"model {model.name} answered {status} to inference {index}")
    return table


@contextmanager
def _ran(
    image: Path, target: Target, records: Mapping[str, np.ndarray], timeout_s: float
) -> Iterator[Path]:
    """The folder with what the firmware ``image`` wrote when it was run on every record."""
    count = len(next(iter(records.values())))
    rows = [array.reshape(count, -1).view(np.uint8) for array in records.values()]
    with scratch.folder() as folder:
        content = np.uint32(count).astype("<u4").tobytes() + np.hstack(rows).tobytes()
        (folder / "inputs.bin").write_bytes(content)
        _emulate(image, target, folder, timeout_s)
        yield folder


def _record_type(model: Model, profile: bool) -> np.dtype:
    """The layout of outputs.bin, as src/main.c says it."""
    fields: list[tuple] = [("status", "<i4"), ("instructions", "<u8")]
    if profile:
        count = np.dtype([("instructions", "<u8"), ("calls", "<u4")])
        fields.append(("operators", count, (len(model.operators),)))
    for t in model.outputs:
        fields.append((f"output {t.name}", np.dtype(t.dtype).newbyteorder("<"), t.shape))
    return np.dtype(fields)


def _emulate(image: Path, target: Target, folder: Path, timeout_s: float) -> None:
    """Run ``image`` to its end with ``folder`` as its current folder."""
    try:
        done = subprocess.run(
            command(image, target),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RunError(
            f"{target.name} was stopped after {timeout_s:g} s without an end; "
            "allow more time, give fewer inputs, or look for a loop that does not end"
        ) from None
    if done.returncode != 0:
        text = (done.stdout + done.stderr).decode(errors="replace")
        raise RunError(failure(text, done.returncode, image, target))


def command(image: Path, target: Target, serial: str = "none") -> list[str]:
    """What starts ``image``, whose UART is the ``serial`` line. Raises MissingToolError."""
    runner = target.runner
    words = [_find(target), "-M", runner.machine, "-kernel", str(image.resolve())]
    words += ["-icount", f"shift={runner.icount_shift},align=off,sleep=off"]
    words += ["-semihosting-config", "enable=on,target=native"]
    words += ["-display", "none", "-monitor", "none", "-serial", serial, "-nodefaults"]
    return words


def failure(text: str, status: int, image: Path, target: Target) -> str:
    """One line that says why a run failed."""
    fault = re.search(r"^FAULT (.*)$", text, re.MULTILINE)
    if fault is None:
        harness = re.search(r"^HARNESS (.*)$", text, re.MULTILINE)
        why = harness[1] if harness else " ".join(text.split())[:300] or "no message"
        return f"{target.name} ended with status {status}: {why}"
    registers = dict(pair.split("=") for pair in fault[1].split())
    flags = int(registers["CFSR"], 16)
    causes = (cause.format(**registers) for bits, cause in _CAUSES if flags & bits)
    # Without room on the stack there is no stacked PC.
    known = int(registers["PC"], 16) != 0
    place = f" in {_function(image, registers['PC'], target)}" if known else ""
    return f"{target.name} faulted{place}: {next(causes, 'unknown cause')} ({fault[1]})"


def _function(image: Path, address: str, target: Target) -> str:
    """The function at ``address`` of ``image``, or the address if there is none known."""
    command = [str(toolchain.find(target, "addr2line")), "-f", "-e", str(image), address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    name = done.stdout.partition("\n")[0]
    return name if done.returncode == 0 and name.strip("?") else address


def _find(target: Target) -> str:
    found = shutil.which("qemu-system-arm")
    if found is None:
        install = target.runner.install
        raise MissingToolError(
            f"qemu-system-arm is not installed, {target.name} runs in it; type: {install}"
        )
    return found
