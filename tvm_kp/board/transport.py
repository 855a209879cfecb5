"""The lines over which a firmware and this computer exchange bytes."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import Protocol

import serial

from tvm_kp.errors import RunError

_CHUNK = 4096
_WRITE_TIMEOUT_S = 1.0
_END_TIMEOUT_S = 2.0


class Transport(Protocol):
    """A line that may lose bytes; a lost end of it is a RunError of one sentence."""

    retry_s: float  # how long after a request the first answer should have come

    def read(self, timeout_s: float) -> bytes:
        """The bytes that have come, none after ``timeout_s``. Raises RunError."""

    def write(self, data: bytes) -> None:
        """Send ``data``, or lose it if the line takes nothing for a second. Raises RunError."""

    def close(self) -> None:
        """End the line and what was started for it; a second time nothing happens."""


class PipeTransport:
    """A process, an emulator or the firmware itself, whose serial line is its stdin and stdout.

    ``explain(text, status)`` makes the message for an end of the process, which said ``text``.
    """

    retry_s = 0.25

    def __init__(self, command: Sequence[str], explain: Callable[[str, int], str]) -> None:
        self._explain = explain
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the line
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                command, bufsize=0, stdin=pipe, stdout=pipe, stderr=self._said
            )
        except OSError as error:
            self._said.close()
            raise RunError(
                f"cannot start {command[0]} ({error.strerror}); build it again"
            ) from None
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)

    def read(self, timeout_s: float) -> bytes:
        """The bytes that have come, none after ``timeout_s``. Raises RunError."""
        ready, _, _ = select.select([self._stdout], [], [], max(timeout_s, 0))
        if not ready:
            return b""
        data = os.read(self._stdout.fileno(), _CHUNK)
        if not data:
            raise self._ended()
        return data

    def write(self, data: bytes) -> None:
        """Send ``data``, or lose it if the process takes nothing. Raises RunError."""
        try:
            while data and select.select([], [self._stdin], [], _WRITE_TIMEOUT_S)[1]:
                data = data[os.write(self._stdin.fileno(), data) :]
        except BrokenPipeError:
            raise self._ended() from None

    def close(self) -> None:
        """End the process."""
        if self._said.closed:
            return
        self._process.kill()
        self._process.wait()
        for file in (self._stdin, self._stdout, self._said):
            file.close()

    def _ended(self) -> RunError:
        """Why the process has ended, if it has within two seconds of its line's end."""
        try:
            status = self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return RunError("the firmware closed its line; build it again")
        self._said.seek(0)
        return RunError(self._explain(self._said.read().decode(errors="replace"), status))


class SerialTransport:
    """A serial port: a device such as /dev/ttyACM0, or a URL that pyserial knows, such as
    socket://host:port. Raises RunError if it cannot be opened."""

    retry_s = 0.5

    def __init__(self, port: str, baud: int) -> None:
        self._port = port
        try:
            self._serial = serial.serial_for_url(port, baud, write_timeout=_WRITE_TIMEOUT_S)
        except (serial.SerialException, ValueError, OSError) as error:
            raise RunError(f"cannot open {port} ({error}); see that the board is there") from None

    def read(self, timeout_s: float) -> bytes:
        """The bytes that have come, none after ``timeout_s``. Raises RunError."""
        try:
            self._serial.timeout = max(timeout_s, 0)
            data: bytes = self._serial.read(max(1, self._serial.in_waiting))
            return data
        except (serial.SerialException, OSError) as error:
            raise self._broken(error) from None

    def write(self, data: bytes) -> None:
        """Send ``data``, or lose it if the port takes nothing. Raises RunError."""
        try:
            self._serial.write(data)
        except serial.SerialTimeoutException:
            return
        except (serial.SerialException, OSError) as error:
            raise self._broken(error) from None

    def close(self) -> None:
        """Close the port."""
        self._serial.close()

    def _broken(self, error: Exception) -> RunError:
        return RunError(f"the line to {self._port} broke ({error}); connect the board again")
