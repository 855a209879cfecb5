"""The commands of a firmware, as templates/link/server.h has them, with bodies of plain values."""

from __future__ import annotations

import struct

from tvm_kp.board.link import Command, Link
from tvm_kp.errors import RunError

_PART = struct.Struct("<BI")  # tensor, offset
_SIZE = struct.Struct("<H")
_STATUS = struct.Struct("<i")
_RESULT = struct.Struct("<iQ")  # status, count
_COUNT = struct.Struct("<QI")  # count, calls
_CALL = struct.Struct("<HI")  # kernel, offset
_FILL = struct.Struct("<IIB")  # offset, size, value
_CYCLES = struct.Struct("<Q")
_OFFSET = struct.Struct("<I")
_INDEX = struct.Struct("<H")
_STACK = struct.Struct("<II")  # size, used

SUM_BYTES = 128  # of the memory, that have a sum


class Commands:
    """Asks the firmware at the other end of ``link``; all methods raise what `Link.call` does.

    ``welcome`` is what it says of itself, within ``hello_s`` (default: the time of a request).
    """

    def __init__(self, link: Link, hello_s: float | None = None) -> None:
        self._link = link
        self.welcome = link.hello(hello_s)

    def write(self, index: int, data: bytes, start: int = 0) -> None:
        """Set bytes of an input from ``start`` on, in pieces."""
        room = self.welcome.body_bytes - _PART.size
        for offset in range(0, len(data), room):
            piece = data[offset : offset + room]
            self._link.call(Command.WRITE, _PART.pack(index, start + offset) + piece)

    def read(self, index: int, size: int, start: int = 0) -> bytes:
        """``size`` bytes of an output from ``start`` on, in pieces."""
        room = self.welcome.body_bytes - 1  # beside a status
        data = b""
        while len(data) < size:
            wanted = min(room, size - len(data))
            part = _PART.pack(index, start + len(data)) + _SIZE.pack(wanted)
            data += self._ask(Command.READ, part, wanted)
        return data

    def run(self) -> tuple[int, int]:
        """Run once: what the model returned, and the count."""
        status, count = _RESULT.unpack(self._ask(Command.RUN, b"", _RESULT.size))
        return status, count

    def reset(self) -> int:
        """Reset the state: what the model returned."""
        (status,) = _STATUS.unpack(self._ask(Command.RESET, b"", _STATUS.size))
        return int(status)

    def profile(self) -> list[tuple[int, int]]:
        """Count and calls of each counted operator in the last run."""
        counts: list[tuple[int, int]] = []
        while len(counts) < self.welcome.operators:
            rows = self._link.call(Command.PROFILE, _INDEX.pack(len(counts)))
            if not rows or len(rows) % _COUNT.size:
                raise _malformed(Command.PROFILE)
            counts += _COUNT.iter_unpack(rows)
        return counts

    def memory(self) -> tuple[int, int]:
        """Bytes of the stack, and the most of it that was used; 0 and 0 if not known."""
        size, used = _STACK.unpack(self._ask(Command.MEMORY, b"", _STACK.size))
        return size, used

    def call(self, kernel: int, offset: int) -> int:
        """The count of a call of a kernel on the memory from ``offset`` on."""
        body = _CALL.pack(kernel, offset)
        (count,) = _CYCLES.unpack(self._ask(Command.CALL, body, _CYCLES.size))
        return int(count)

    def fill(self, offset: int, size: int, value: int) -> None:
        """Set ``size`` bytes of the memory from ``offset`` on to one value."""
        self._link.call(Command.FILL, _FILL.pack(offset, size, value))

    def sums(self, offset: int, count: int) -> list[int]:
        """CRC-32 of ``count`` blocks of the memory, of `SUM_BYTES` from ``offset`` on."""
        sums: list[int] = []
        while len(sums) < count:
            body = _OFFSET.pack(offset + len(sums) * SUM_BYTES)
            some = self._link.call(Command.SUMS, body)
            if not some or len(some) % _OFFSET.size:
                raise _malformed(Command.SUMS)
            sums += (one for (one,) in _OFFSET.iter_unpack(some))
        return sums[:count]

    def _ask(self, command: Command, body: bytes, size: int) -> bytes:
        """An answer that must have ``size`` bytes."""
        answer = self._link.call(command, body)
        if len(answer) != size:
            raise _malformed(command)
        return answer


def _malformed(command: Command) -> RunError:
    return RunError(f"the firmware's answer to {command.name} is malformed; flash it again")
