"""Steps over registers: what is one, and the C that it becomes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tvm_kp.errors import TargetError
from tvm_kp.uart import Uart, statements, validate

GOOD = Uart("steps", setup=("0x10 = 0x1",), read=("byte = 0x14",), write=("0x18 = byte",))


@pytest.mark.parametrize(
    ("step", "c"),
    [
        ("0x40023830 |= 0x00020000", "REGISTER(0x40023830u) |= 0x00020000u;"),
        ("0x10 = 0xFf", "REGISTER(0x10u) = 0xFfu;"),
        ("0x10 &= 0x1", "REGISTER(0x10u) &= 0x1u;"),
        ("0x10 = byte", "REGISTER(0x10u) = byte;"),
        ("byte = 0x10", "byte = REGISTER(0x10u);"),
        ("wait 0x10 & 0x4", "while ((REGISTER(0x10u) & 0x4u) == 0) continue;"),
        ("wait !0x10 & 0x4", "while ((REGISTER(0x10u) & 0x4u) != 0) continue;"),
    ],
)
def test_steps(step: str, c: str) -> None:
    validate(replace(GOOD, setup=(step,)), "here")
    assert statements([step, "0x0 = 0x1"]) == f"{c}\nREGISTER(0x0u) = 0x1u;"


@pytest.mark.parametrize(
    "step", ["", "0x10", "0x10 = 1", "0x10 == 0x1", "0x10 = 0x1; abort()", "wait 0x10", "0x1 =0x1"]
)
def test_what_is_no_step(step: str) -> None:
    with pytest.raises(TargetError, match=r"here: uart.setup has .*no step; write 0xA = 0xB"):
        validate(replace(GOOD, setup=(step,)), "here")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"driver": "usart"}, "uart.driver is 'usart'; there are cmsdk, steps"),
        ({"driver": "cmsdk"}, "uart.clock_hz must be above 0"),
        ({"baud": 0}, "uart.baud must be above 0"),
        ({"read": ()}, "uart.read is missing"),
        ({"read": ("0x18 = 0x1",)}, "uart.read has no step with 'byte ='"),
        ({"write": ("byte = 0x14",)}, "uart.write has no step with '= byte'"),
    ],
)
def test_what_no_firmware_can_be_made_of(changes: dict, text: str) -> None:
    with pytest.raises(TargetError, match=text):
        validate(replace(GOOD, **changes), "here")
