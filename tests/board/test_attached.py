"""Attached boards. An emulator plays one: what flashes it starts it, and its line is a port."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tvm_kp import board
from tvm_kp.artifacts import Model
from tvm_kp.board import attached
from tvm_kp.board.layout import HOST_DRIVEN
from tvm_kp.board.project import Project, create
from tvm_kp.board.session import Session
from tvm_kp.cli import projects
from tvm_kp.errors import InputError, MissingToolError, RunError, TargetError
from tvm_kp.target import Target, names
from tvm_kp.uart import Uart

ATTACHED = [name for name in names() if Target.load(name).runner.kind == "serial"]


UART = Uart(
    driver="steps",
    # A timer of a millisecond makes the emulator look at its line while a loop polls the UART.
    setup=(
        *("0x40000008 = 0x000061A8", "0x40000000 = 0x00000001"),
        *("0x40004010 = 0x000000D9", "0x40004008 = 0x00000003"),
    ),
    read=("wait 0x40004004 & 0x2", "byte = 0x40004000"),
    write=("wait !0x40004004 & 0x1", "0x40004000 = byte"),
)


@pytest.fixture
def target(attached_board: Target) -> Target:
    return replace(attached_board, uart=UART)


@pytest.fixture
def project(make_model: Callable[..., Model], target: Target, tmp_path: Path) -> Project:
    return create(make_model(), target, tmp_path / "project", kind=HOST_DRIVEN)


def test_flashed_and_run(
    project: Project, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> None:
    with pytest.raises(RunError, match="cannot open"):
        project.run(inputs)
    assert projects.flash(project.directory, "board", {}).startswith("Flashed mine with /")
    result = project.run(inputs, repeat=2)
    for name, array in expected.items():
        np.testing.assert_array_equal(result.outputs[name], array)
    assert result.unit == "cycles" and len(result.cycles) == 6 and min(result.cycles) > 0
    assert not result.instructions and not result.seconds
    with pytest.raises(InputError, match="profile=1"):
        project.run(inputs, profile=True)
    # The same through the port as a session gives it, and with hooks.
    projects.flash(project.directory, None, {"profile": "1"})
    result = project.run(inputs, profile=True)
    assert [one.calls for one in result.operators] == [2, 1]
    with Session(project, transport=project.target.runner.port) as session:
        session.set_input("x", inputs["x"][0])
        session.set_input("steps", inputs["steps"][0])
        assert session.run() > 0 and session.unit == "cycles"
        np.testing.assert_array_equal(session.get_output("output0"), expected["output0"][0])
        stack = session.memory()
        assert stack is not None and 0 < stack.used < stack.size


def test_firmware_of_another_model(
    project: Project, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    board.flash(project)
    other = create(make_model("nops"), project.target, tmp_path / "other", kind=HOST_DRIVEN)
    with pytest.raises(RunError, match="another model"), Session(other):
        pass


@pytest.mark.parametrize(
    ("command", "error", "text"),
    [
        (("/no/tool", "{image}"), MissingToolError, "/no/tool is not installed.*type: apt"),
        (("sh", "-c", "echo Error: no probe; exit 3", "{image}"), RunError, "3: Error: no probe"),
        (("false", "{image}"), RunError, "status 1: no message; see that"),
    ],
)
def test_flashing_that_fails(
    project: Project, command: tuple[str, ...], error: type[Exception], text: str
) -> None:
    runner = replace(project.target.runner, flash=command)
    with pytest.raises(error, match=text):
        board.flash(replace(project, target=replace(project.target, runner=runner)))


def test_ports_are_found_by_their_usb_identity(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = [SimpleNamespace(device=f"/dev/p{k}", vid=0x0483, pid=k) for k in (1, 2, 2)]
    monkeypatch.setattr(attached.list_ports, "comports", lambda: ports)
    opened = []
    monkeypatch.setattr(attached, "SerialTransport", lambda *line: opened.append(line))
    for usb in ("0483:0001", "0483:0002", "0483:0003"):
        runner = replace(target.runner, port="", usb=usb)
        if usb == "0483:0001":
            attached.connect(Path(), replace(target, runner=runner))
            assert opened == [("/dev/p1", 115200)]
            continue
        count, there = (2, "/dev/p2, /dev/p2") if usb.endswith("2") else (0, "/dev/p1, /dev/p2")
        with pytest.raises(RunError, match=f"{count} serial ports.*there are {there}.*--port"):
            attached.connect(Path(), replace(target, runner=runner))


def test_batches_are_refused(make_model: Callable[..., Model], target: Target) -> None:
    with pytest.raises(TargetError, match=r"answers sessions alone.*micro flash"):
        board.run(make_model(), target, {})


@pytest.mark.parametrize("name", ATTACHED)
def test_shipped_boards_are_linked_and_fit(
    name: str, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    project = create(make_model(), Target.load(name), tmp_path / "p", kind=HOST_DRIVEN)
    assert board.build(project).is_file()
    assert "Not run on hardware" in project.target.note
    uart = project.target.uart
    text = (project.directory / "board" / "uart.c").read_text()
    for step in (*uart.setup, *uart.read, *uart.write):
        first, *_ = re.findall("0x[0-9A-F]{8}", step)
        assert f"REGISTER({first}u)" in text
