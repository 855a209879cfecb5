"""Instructions of Thumb-2 that assembly of several kinds needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_FARTHEST = 508  # bytes that an access to a vector can go on


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


def reached(name: str, pointer: str, offset: int, step: int = 0) -> Iterator[str]:
    """An access to a vector ``offset`` bytes from the operand ``pointer``, which then goes on
    ``step`` bytes; one whose name ends in t is predicated."""
    yield from ("vpst",) if name.split(".")[0].endswith("t") else ()
    if 0 < abs(step) <= _FARTHEST and offset == 0:
        yield f"{name}, [%[{pointer}]], #{step}"
        return
    yield f"{name}, [%[{pointer}], #{offset}]" if offset else f"{name}, [%[{pointer}]]"
    yield from advanced(pointer, step)


def load(pointer: str, registers: Sequence[str], nbytes: int) -> str:
    """Load ascending registers; the operand ``pointer`` goes on."""
    if len(registers) > 2:
        return f"ldmia %[{pointer}]!, {{{', '.join(registers)}}}"
    return f"{load_name(registers)}, [%[{pointer}]], #{nbytes}"


def load_name(registers: Sequence[str]) -> str:
    """How one or two registers are loaded."""
    return f"{'ldr' if len(registers) == 1 else 'ldrd'} {', '.join(registers)}"
