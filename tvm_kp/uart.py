"""The serial line of a board: a driver of ours, or steps over registers, in its description.

A step is one of

    0x40023830 |= 0x00020000     also =, and &= with a mask
    wait 0x40004400 & 0x20       until one of the bits is set
    wait !0x40034018 & 0x20      until none is
    0x40004404 = byte            what is sent
    byte = 0x40004404            what is received

so that a board is a record in a file, whatever its UART.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tvm_kp.toml_record import expect

STEPS = "steps"
DRIVERS = ("cmsdk", STEPS)

_NUMBER = r"0x[0-9a-fA-F]+"
_FORMS = (
    (re.compile(rf"({_NUMBER}) (=|\|=|&=) ({_NUMBER}|byte)"), r"REGISTER(\1) \2 \3;"),
    (re.compile(rf"byte = ({_NUMBER})"), r"byte = REGISTER(\1);"),
    (
        re.compile(rf"wait ({_NUMBER}) & ({_NUMBER})"),
        "while ((REGISTER(\\1) & \\2) == 0) continue;",
    ),
    (
        re.compile(rf"wait !({_NUMBER}) & ({_NUMBER})"),
        "while ((REGISTER(\\1) & \\2) != 0) continue;",
    ),
)


@dataclass(frozen=True)
class Uart:
    """The serial line of sessions, with the ``driver`` of a folder of templates/link, or ``steps``.

    A driver has the UART's first address ``origin``, the number of its receive ``interrupt`` and
    the clock that its ``baud`` rate is divided from. Steps ``setup`` clocks, pins and baud rate,
    ``read`` a byte, and ``write`` one.
    """

    driver: str
    origin: int = 0
    interrupt: int = 0
    clock_hz: int = 0
    baud: int = 115200
    setup: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


def validate(uart: Uart, where: str) -> None:
    """Raise TargetError for a ``uart`` that no firmware can be made for."""
    there = ", ".join(DRIVERS)
    good = uart.driver in DRIVERS
    expect(good, where, "uart.driver", f"is {uart.driver!r}; there are {there}")
    expect(uart.baud > 0, where, "uart.baud", "must be above 0")
    if uart.driver != STEPS:
        expect(uart.clock_hz > 0, where, "uart.clock_hz", "must be above 0")
        return
    for key in ("setup", "read", "write"):
        steps = getattr(uart, key)
        expect(bool(steps), where, f"uart.{key}", "is missing")
        for step in steps:
            good = any(form.fullmatch(step) for form, _ in _FORMS)
            possible = "write 0xA = 0xB, |= or &=, wait 0xA & 0xB, wait !0xA & 0xB, "
            possible += "0xA = byte, or byte = 0xA"
            expect(good, where, f"uart.{key}", f"has {step!r}, which is no step; {possible}")
    for key, step in (("read", "byte = "), ("write", " = byte")):
        good = any(step in one for one in getattr(uart, key))
        expect(good, where, f"uart.{key}", f"has no step with {step.strip()!r}")


def statements(steps: Sequence[str]) -> str:
    """The C of ``steps``, line by line, where ``REGISTER(address)`` is a register."""
    return "\n".join(map(_statement, steps))


def _statement(step: str) -> str:
    found = next((form, c) for form, c in _FORMS if form.fullmatch(step))
    c = found[0].sub(found[1], step)
    return re.sub(_NUMBER, lambda number: f"{number[0]}u", c)
