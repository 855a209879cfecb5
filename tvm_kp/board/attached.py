"""Attached boards: putting a firmware on one, and finding its serial line."""

from __future__ import annotations

import subprocess
from pathlib import Path

from serial.tools import list_ports

from tvm_kp.board.transport import SerialTransport
from tvm_kp.errors import MissingToolError, RunError
from tvm_kp.target import Target


def connect(_image: Path, target: Target) -> SerialTransport:
    """The line to what was flashed last. Raises RunError."""
    assert target.uart is not None, "an attached board has one"
    return SerialTransport(target.runner.port or _port(target), target.uart.baud)


def flash(image: Path, target: Target) -> None:
    """Put ``image`` on the board. Raises MissingToolError, RunError."""
    command = [word.replace("{image}", str(image)) for word in target.runner.flash]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingToolError(
            f"{command[0]} is not installed, it flashes {target.name}; "
            f"type: {target.runner.install}"
        ) from None
    if done.returncode != 0:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
        said = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise RunError(
            f"{target.name} was not flashed, {command[0]} ended with status {done.returncode}: "
            f"{said.strip()}; see that the board is connected"
        )


def _port(target: Target) -> str:
    """The device of the one port that the board's USB identity has."""
    ports = list_ports.comports()
    vendor, product = (int(number, 16) for number in target.runner.usb.split(":"))
    found = [port.device for port in ports if (port.vid, port.pid) == (vendor, product)]
    if len(found) == 1:
        return str(found[0])
    there = ", ".join(found or [port.device for port in ports]) or "none"
    raise RunError(
        f"{len(found)} serial ports have the USB identity {target.runner.usb} of {target.name}; "
        f"there are {there}: connect it, or say which with --port"
    )
