"""Hand-made recurrences, and the compilers that emitted C has to please."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_kp import board
from tvm_kp.artifacts import Model
from tvm_kp.graph import scan
from tvm_kp.target import Target

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Werror")
COMPILERS = {
    "host": ("gcc", *STRICT),
    "mps2-an386": (
        *("arm-none-eabi-gcc", *STRICT, "-mcpu=cortex-m4", "-mthumb"),
        *("-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    ),
    "mps3-an547": (
        *("arm-none-eabi-gcc", *STRICT, "-mcpu=cortex-m55", "-mthumb"),
        *("-mfloat-abi=hard", "-mfpu=auto"),
    ),
}
Shape = tuple[int, ...]
Step = Callable[[Callable[[relax.Expr], relax.Var], list, list], list]


def _variables(prefix: str, shapes: Sequence[Shape]) -> list[relax.Var]:
    return [
        relax.Var(f"{prefix}{k}", relax.TensorType(shape, "float32"))
        for k, shape in enumerate(shapes)
    ]


@pytest.fixture(scope="session")
def scan_module() -> Callable[..., tvm.IRModule]:
    """``(step, steps, x shapes, state shapes)`` -> a module that returns all the scan returns.

    ``step(emit, xs, states)`` gives the results of a time step; main's inputs are x0, x1, …
    and the initial states s0, s1, …. ``finish(emit, results, inputs)`` says what main returns.
    """

    def build(
        step: Step,
        steps: int,
        rows: Sequence[Shape],
        states: Sequence[Shape],
        finish: Callable[..., list] | None = None,
    ) -> tvm.IRModule:
        builder = relax.BlockBuilder()
        inner = relax.BlockBuilder()
        xs, ss = _variables("x", rows), _variables("s", states)
        with inner.function("step", [*xs, *ss], private=True):
            with inner.dataflow():
                result = inner.emit_output(relax.Tuple(step(inner.emit, xs, ss)))
            inner.emit_func_output(result)
        name = builder.add_func(inner.get()["step"], "step")
        inputs = [*_variables("x", [(steps, *row) for row in rows]), *_variables("s", states)]
        with builder.function("main", inputs):
            with builder.dataflow():
                call = scan.scan(name, inputs[: len(rows)], inputs[len(rows) :])
                tuple_ = builder.emit(call)
                fields = [builder.emit(tuple_[k]) for k in range(len(tuple_.ty.fields))]
                fields = finish(builder.emit, fields, inputs) if finish else fields
                output = builder.emit_output(relax.Tuple(fields))
            builder.emit_func_output(output)
        return builder.get()

    return build


@pytest.fixture(scope="session")
def run_module(
    model_of: Callable[..., Model],
) -> Callable[[tvm.IRModule, Mapping[str, np.ndarray]], list[np.ndarray]]:
    """The outputs of a module's C on the host."""

    def run(mod: tvm.IRModule, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        found = board.run(model_of(mod), Target.load("host"), inputs)
        return [value[0] for value in found.outputs.values()]

    return run


@pytest.fixture
def compile_strictly(tmp_path: Path) -> Callable[[Mapping[str, str], str], None]:
    """Compiles C files by name with every warning an error; headers are found beside them."""

    def check(files: Mapping[str, str], target: str) -> None:
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        for name in files:
            if name.endswith(".c"):
                command = [*COMPILERS[target], "-O2", "-c", name, "-o", f"{target}-{name}.o"]
                done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
                assert done.returncode == 0, done.stderr

    return check


_AT = re.compile(r"\[%\[(\w+)\](?:, #(-?\d+))?\](!)?(?:, #(-?\d+))?$")
_SEVERAL = re.compile(r"mia %\[(\w+)\](!)?, \{(.*)\}$")
_MOVE = re.compile(r"(add|sub)w %\[(\w+)\], %\[\w+\], #(\d+)$")


class _Core:
    """Goes through assembly, and sees where it accesses memory."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines, self._counter, self._saved = lines, 0, []
        self._at: dict[str, int] = defaultdict(int)

    def run(self) -> Iterator[tuple[str, str, int]]:
        """Every instruction that is executed, a pointer, and how many bytes that has gone on."""
        place = 0
        while place < len(self._lines):
            line = self._lines[place]
            yield (line, *self._accessed(line))
            back = self._goes_back(line)
            place = place + 1 if not back else self._label(f"{back}:", place)

    def _label(self, label: str, place: int) -> int:
        return max(k for k in range(place) if self._lines[k] == label)

    def _accessed(self, line: str) -> tuple[str, int]:
        if match := _AT.search(line):
            pointer, offset, before, after = match.groups()
            place = self._at[pointer] + int(offset or 0)
            self._at[pointer] = (
                place + int(after or 0) if before or not offset else place - int(offset)
            )
            return pointer, place
        if match := _SEVERAL.search(line):
            pointer, onward, registers = match.groups()
            place = self._at[pointer]
            self._at[pointer] += 4 * len(registers.split(",")) if onward else 0
            return pointer, place
        if match := _MOVE.match(line):
            self._at[match[2]] += int(match[3]) * (1 if match[1] == "add" else -1)
        return "", 0

    def _goes_back(self, line: str) -> str:
        """The label of a loop that goes on."""
        name, _, rest = line.partition(" ")
        if name == "movw":
            self._counter = int(rest.partition("#")[2])
        elif name == "str" and rest.startswith("lr"):
            self._saved.append(self._counter)
        elif name == "ldr" and rest.startswith("lr"):
            self._counter = self._saved.pop()
        elif name in ("le", "subs"):
            self._counter -= 1
        return rest.split()[-1][:-1] if name in ("le", "bne") and self._counter else ""


@pytest.fixture(scope="session")
def executed() -> Callable[[Sequence[str]], list[tuple[str, str, int]]]:
    """The instructions that assembly executes, and the pointers and places that these access."""
    return lambda lines: list(_Core(lines).run())
