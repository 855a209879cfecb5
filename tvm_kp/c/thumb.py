"""Instructions of Thumb-2 that assembly of several kinds needs."""

from __future__ import annotations

from collections.abc import Iterator


def number(register: str, value: int) -> Iterator[str]:
    """Load a number."""
    yield f"movw {register}, #{value & 0xFFFF}"
    if value >> 16:
        yield f"movt {register}, #{value >> 16}"


def advanced(pointer: str, nbytes: int) -> Iterator[str]:
    """Let the operand ``pointer`` go on: up to 4095 bytes at a time."""
    while nbytes:
        step = min(nbytes, 4092)
        yield f"addw %[{pointer}], %[{pointer}], #{step}"
        nbytes -= step
