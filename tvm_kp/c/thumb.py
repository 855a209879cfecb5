"""Instructions of Thumb-2 that assembly of several kinds needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def number(register: str, value: int) -> Iterator[str]:
    """Load a number."""
    yield f"movw {register}, #{value & 0xFFFF}"
    if value >> 16:
        yield f"movt {register}, #{value >> 16}"


def advanced(pointer: str, nbytes: int) -> Iterator[str]:
    """Let the operand ``pointer`` go on, or back: up to 4095 bytes at a time."""
    verb, left = ("addw" if nbytes > 0 else "subw"), abs(nbytes)
    while left:
        step = min(left, 4092)
        yield f"{verb} %[{pointer}], %[{pointer}], #{step}"
        left -= step


def load_name(registers: Sequence[str]) -> str:
    """How one or two registers are loaded."""
    return f"{'ldr' if len(registers) == 1 else 'ldrd'} {', '.join(registers)}"
