"""Sessions: driving the firmware of a host-driven project step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tvm_kp.artifacts import OperatorCount, TensorSpec
from tvm_kp.board import attached, emulator, host
from tvm_kp.board.commands import Commands
from tvm_kp.board.layout import HOST_DRIVEN
from tvm_kp.board.link import Fault, Link
from tvm_kp.board.records import as_records
from tvm_kp.board.transport import SerialTransport, Transport
from tvm_kp.errors import InputError, RunError, TargetError
from tvm_kp.target import Target

if TYPE_CHECKING:
    from tvm_kp.board.project import Project

_DEFAULT_BAUD = 115200
CONNECTORS: dict[str, Callable[[Path, Target], Transport]] = {
    "host": host.connect,
    "qemu": emulator.connect,
    "serial": attached.connect,
}


@dataclass(frozen=True)
class StackUse:
    """Bytes of a board's stack, and the most of them that were used since it started."""

    size: int
    used: int


class Session:
    """A context in which the model of a project is run on its board, over a serial line.

        with Session(project) as session:
            session.set_input("x", x)
            session.run()
            y = session.get_output("output")

    ``project`` is host-driven, a `Project` or its folder. The line is to a fresh start of the
    emulator, or of the firmware as a process of this computer, built if it is not up to date, or
    to an attached board, which was flashed; ``transport`` is instead a port (/dev/ttyACM0, or a
    URL of pyserial), or a `Transport`, which is closed at the end. Each request is answered within
    ``timeout_s`` (default: the target's). With ``profile`` the build is one that counts operators.

    Its state is reset at the start and kept from run to run. A session is over after a RunError
    of its line; the next one works.

    Raises TargetError for a batch project; and on entering what `build` does, and RunError if
    there is no firmware or one of another model.
    """

    def __init__(
        self,
        project: Project | Path | str,
        *,
        profile: bool = False,
        timeout_s: float | None = None,
        transport: Transport | str | None = None,
    ) -> None:
        from tvm_kp.board.project import Project  # which needs sessions for its own runs

        self._project = Project.open(project) if isinstance(project, str | Path) else project
        _check_driven(self._project)
        self._profile = profile
        self._timeout_s = timeout_s or self._project.target.runner.timeout_s
        self._given = transport
        self._transport: Transport | None = None

    def __enter__(self) -> Session:
        project = self._project
        self._inputs: set[str] = set()
        self._runs = 0
        self._transport = self._connect()
        try:
            self._commands = Commands(Link(self._transport, project.target.name, self._timeout_s))
            if self._commands.welcome.identity != project.identity:
                raise RunError(
                    f"the firmware on {project.target.name} is of another model than "
                    f"{project.directory}: build that and flash it"
                )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the line, and the emulator or process; a second time nothing happens."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    @property
    def unit(self) -> str:
        """The unit of counts: instructions, cycles or nanoseconds."""
        return self._commands.welcome.unit

    def set_input(self, name: str, array: np.ndarray) -> None:
        """Send one inference's values of an input. Raises InputError, RunError."""
        inputs = self._project.model.inputs
        index = next((i for i, t in enumerate(inputs) if t.name == name), None)
        specs = inputs if index is None else inputs[index : index + 1]
        records = as_records(specs, {name: array})
        if len(records[name]) != 1:
            raise InputError(f"input {name!r} has {len(records[name])} inferences; set one, run it")
        with self._board() as commands:
            commands.write(inputs.index(specs[0]), records[name].tobytes())
        self._inputs.add(name)

    def run(self) -> int:
        """Run one inference on the inputs set last; its count, in `unit`.

        With ``profile`` that is the sum of the operators. Raises InputError if an input was never
        set, and RunError, after which the session goes on if it was the model that failed.
        """
        model = self._project.model
        missing = [t.name for t in model.inputs if t.name not in self._inputs]
        if missing:
            since = "since the last run" if model.workspace_io and self._runs else "in this session"
            raise InputError(f"input {missing[0]!r} was not set {since}; call set_input")
        with self._board() as commands:
            status, count = commands.run()
        self._runs += 1
        if model.workspace_io:
            self._inputs.clear()  # the run used their memory
        if status:
            raise RunError(f"model {model.name} answered {status} to inference {self._runs - 1}")
        return count

    def get_output(self, name: str) -> np.ndarray:
        """The values of an output after the last run, of the model's shape and dtype."""
        outputs = self._project.model.outputs
        for index, spec in enumerate(outputs):
            if spec.name == name:
                return self._read(index, spec)
        there = ", ".join(t.name for t in outputs)
        raise InputError(f"there is no output {name!r}; the model has {there}")

    def outputs(self) -> dict[str, np.ndarray]:
        """All outputs after the last run."""
        outputs = self._project.model.outputs
        return {spec.name: self._read(index, spec) for index, spec in enumerate(outputs)}

    def step(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Set inputs, run, and get all outputs: one time step of a stream, whose state stays."""
        for name, array in inputs.items():
            self.set_input(name, array)
        self.run()
        return self.outputs()

    def reset_state(self) -> None:
        """Make a stream start anew; nothing to a model without state."""
        with self._board() as commands:
            status = commands.reset()
        if status:
            raise RunError(f"model {self._project.model.name} answered {status} to a reset")

    def measure(self, repeat: int = 1) -> tuple[int, ...]:
        """The counts of ``repeat`` runs on the same inputs; a stream takes as many steps.

        With workspace I/O a run uses up its inputs, so there can be but one.
        """
        return tuple(self.run() for _ in range(repeat))

    def profile(self) -> tuple[OperatorCount, ...]:
        """What each operator took of the last run, in `unit`.

        Raises InputError unless the session is one with ``profile``.
        """
        operators = self._project.model.operators
        if not self._profile or self._commands.welcome.operators != len(operators):
            attached = self._project.target.runner.kind == "serial"
            flash = "build and flash it with --project-option profile=1"
            how = flash if attached else "open Session(…, profile=True)"
            raise InputError(f"the firmware counts no operators: {how}")
        with self._board() as commands:
            counts = zip(operators, commands.profile(), strict=True)
        return tuple(OperatorCount(o.name, calls, count) for o, (count, calls) in counts)

    def memory(self) -> StackUse | None:
        """What the board uses of its stack; None where that is not known, as on the host."""
        with self._board() as commands:
            size, used = commands.memory()
        return StackUse(size, used) if size else None

    def _connect(self) -> Transport:
        target = self._project.target
        if isinstance(self._given, str):
            baud = target.uart.baud if target.uart else _DEFAULT_BAUD
            return SerialTransport(self._given, baud)
        if self._given is not None:
            return self._given
        return connect(self._project, self._profile)

    def _read(self, index: int, spec: TensorSpec) -> np.ndarray:
        with self._board() as commands:
            data = commands.read(index, spec.nbytes)
        array = np.frombuffer(data, np.dtype(spec.dtype).newbyteorder("<"))
        return array.astype(spec.dtype).reshape(spec.shape)

    @contextmanager
    def _board(self) -> Iterator[Commands]:
        """What asks the firmware; the session is over if that goes wrong."""
        if self._transport is None:
            raise RunError("the session is over; open another one")
        try:
            yield self._commands
        except Fault as fault:
            self.close()
            image, target = self._project.image_path(self._profile), self._project.target
            raise RunError(emulator.failure(str(fault), 0, image, target)) from None
        except BaseException:
            self.close()
            raise


def connect(project: Project, profile: bool = False) -> Transport:
    """The line to a fresh start of a project's firmware, built if it is not up to date.

    Raises TargetError for a batch project, and what `build` does.
    """
    _check_driven(project)
    return CONNECTORS[project.target.runner.kind](project.image(profile), project.target)


def _check_driven(project: Project) -> None:
    if project.kind != HOST_DRIVEN:
        raise TargetError(
            f"{project.directory} is a {project.kind} project, which no session can drive; "
            f"create it with --project-option project_type={HOST_DRIVEN}"
        )
