"""Requests to a firmware and its replies, over a line that may corrupt, lose or repeat anything.

templates/link/server.h has the messages. A frame is a payload and its CRC-32, encoded by COBS, and
a zero. microTVM's frames have a CRC of 16 bits: one in 65,536 random ones would be accepted. Here
it is one in four billion, and a reply must also be the one that is waited for.

Stop and wait: a request is repeated until its reply comes; the firmware executes it once.
"""

from __future__ import annotations

import secrets
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

from cobs import cobs

from tvm_kp.board.transport import Transport
from tvm_kp.errors import RunError

PROTOCOL = 1
UNITS = ("instructions", "cycles", "nanoseconds")
REFUSALS = ("", "unknown command", "wrong length", "out of bounds", "another protocol version")

_HEADER = struct.Struct("<HBB")  # session, sequence, command
_CRC = struct.Struct("<I")
_HELLO = struct.Struct("<BI")  # version, nonce
_WELCOME = struct.Struct("<BB8sHBHI")  # status, version and what Welcome has, the nonce
_REPLY = 0x80
_LONGEST_WAIT_S = 1.0
_LONGEST_FRAME = 1 << 16


class Command(IntEnum):
    """The commands of server.h."""

    HELLO = 1
    WRITE = 2
    RUN = 3
    READ = 4
    RESET = 5
    PROFILE = 6
    MEMORY = 7
    FAULT = 8
    CALL = 9
    SUMS = 10
    FILL = 11


class Fault(Exception):
    """The line of registers that a firmware sent last."""


class NoAnswerError(RunError):
    """A request that was repeated up to its time-out in vain."""


@dataclass(frozen=True)
class Welcome:
    """What a firmware says of itself: the identity of its model, the most bytes of a body, the
    unit of its counts, and how many operators it counts."""

    identity: bytes
    body_bytes: int
    unit: str
    operators: int


def encode(payload: bytes) -> bytes:
    """The frame of ``payload``."""
    return cobs.encode(payload + _CRC.pack(zlib.crc32(payload))) + b"\0"


def decode(frame: bytes) -> bytes | None:
    """The payload of a frame without its zero, at least a header; None for what is none."""
    try:
        content = cobs.decode(frame)
    except cobs.DecodeError:
        return None
    payload, crc = content[: -_CRC.size], content[-_CRC.size :]
    whole = len(payload) >= _HEADER.size
    return payload if whole and crc == _CRC.pack(zlib.crc32(payload)) else None


class Link:
    """One session with the firmware of board ``name``; each request ends within ``timeout_s``."""

    def __init__(self, transport: Transport, name: str, timeout_s: float) -> None:
        self._transport = transport
        self._name = name
        self._timeout_s = timeout_s
        self._received = bytearray()
        self._session = 0
        self._sequence = 0

    def hello(self, timeout_s: float | None = None) -> Welcome:
        """Begin the session, within ``timeout_s`` (default: that of every request).

        Raises RunError if nobody answers, or in another protocol.
        """
        nonce = secrets.randbits(32)
        # What the line holds of earlier times is no part of the first frame.
        self._transport.write(b"\0")
        request = _HEADER.pack(0, 0, Command.HELLO) + _HELLO.pack(PROTOCOL, nonce)
        welcomes = partial(_welcomes, nonce=nonce)
        reply = self._exchange(request, welcomes, timeout_s or self._timeout_s)
        status, version = reply[_HEADER.size : _HEADER.size + 2]
        if status or version != PROTOCOL:
            raise RunError(
                f"the firmware on {self._name} speaks protocol {version}, this tvm_kp {PROTOCOL}: "
                "create the project again, build and flash it"
            )
        self._session, _, _ = _HEADER.unpack_from(reply)
        _, _, identity, body_bytes, unit, operators, _ = _WELCOME.unpack_from(reply, _HEADER.size)
        return Welcome(identity, body_bytes, UNITS[unit], operators)

    def call(self, command: Command, body: bytes = b"") -> bytes:
        """What the firmware answers to ``command``. Raises RunError if it does not, or refuses;
        and Fault."""
        self._sequence = (self._sequence + 1) % 256
        request = _HEADER.pack(self._session, self._sequence, command) + body
        expected = _HEADER.pack(self._session, self._sequence, command | _REPLY)
        fault = _HEADER.pack(self._session, self._sequence, Command.FAULT | _REPLY)
        answers = (expected, fault)
        reply = self._exchange(request, lambda reply: reply.startswith(answers), self._timeout_s)
        status, answer = reply[_HEADER.size], reply[_HEADER.size + 1 :]
        if reply.startswith(fault):
            raise Fault(answer.decode(errors="replace"))
        if status:
            why = REFUSALS[status] if status < len(REFUSALS) else f"status {status}"
            raise RunError(f"{self._name} refused {command.name}: {why}; build and flash it again")
        return answer

    def _exchange(
        self, request: bytes, accepts: Callable[[bytes], bool], timeout_s: float
    ) -> bytes:
        """The first payload that ``accepts`` of what comes back, repeating ``request``."""
        frame, wait = encode(request), self._transport.retry_s
        deadline = time.monotonic() + timeout_s
        while (now := time.monotonic()) < deadline:
            self._transport.write(frame)
            repeat_at = min(deadline, now + wait)
            while time.monotonic() < repeat_at:
                payload = self._receive(repeat_at - time.monotonic())
                # Behind the header there is at least a status.
                if payload is not None and len(payload) > _HEADER.size and accepts(payload):
                    return payload
            wait = min(2 * wait, _LONGEST_WAIT_S)
        raise NoAnswerError(
            f"{self._name} did not answer within {timeout_s:g} s; allow more time, look for "
            "a loop that does not end, or flash the firmware again"
        )

    def _receive(self, timeout_s: float) -> bytes | None:
        """The next payload if its frame has come, else what comes within ``timeout_s`` is kept."""
        frame, zero, rest = self._received.partition(b"\0")
        if zero:
            self._received = rest
            return decode(bytes(frame))
        if len(frame) > _LONGEST_FRAME:
            self._received.clear()
        self._received += self._transport.read(timeout_s)
        return None


def _welcomes(reply: bytes, nonce: int) -> bool:
    """Whether ``reply`` is to the HELLO with ``nonce``, or from another version of this."""
    _, sequence, command = _HEADER.unpack_from(reply)
    if (sequence, command) != (0, Command.HELLO | _REPLY) or len(reply) < _HEADER.size + 2:
        return False
    if reply[_HEADER.size]:
        return True
    whole = len(reply) == _HEADER.size + _WELCOME.size
    return whole and _WELCOME.unpack_from(reply, _HEADER.size)[-1] == nonce
