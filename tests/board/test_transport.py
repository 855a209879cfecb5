from __future__ import annotations

import sys

import pytest

from tvm_kp.board.transport import PipeTransport, SerialTransport
from tvm_kp.errors import RunError


def explain(text: str, status: int) -> str:
    return f"{status}: {text}"


def test_an_end_is_explained_to_who_reads_and_who_writes() -> None:
    program = "import sys; sys.stderr.write('why'); sys.exit(7)"
    for ask in (lambda line: line.read(10), lambda line: [line.write(b"x") for _ in range(10**5)]):
        line = PipeTransport([sys.executable, "-c", program], explain)
        with pytest.raises(RunError, match="7: why"):
            ask(line)
        line.close()
        line.close()


def test_what_nobody_takes_is_lost() -> None:
    line = PipeTransport(["sleep", "60"], explain)
    try:
        line.write(bytes(1 << 20))
        assert line.read(0) == b""
    finally:
        line.close()


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(RunError, match="cannot start /none"):
        PipeTransport(["/none"], explain)


def test_a_port_that_is_no_port() -> None:
    for port in ("/dev/ttyNONE", "nothing://x"):
        with pytest.raises(RunError, match=f"cannot open {port}"):
            SerialTransport(port, 115200)


def test_a_url_of_pyserial() -> None:
    line = SerialTransport("loop://", 115200)
    line.write(b"abc")
    assert line.read(1) == b"abc"
    assert line.read(0) == b""
    line.close()
