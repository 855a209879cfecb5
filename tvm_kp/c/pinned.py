"""Assembly whose pointers are in registers of their own, as its other registers are fixed too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol


class Assembly(Protocol):
    """Instructions, of which ``%[name]`` are pointers that they change: their registers by name.

    They write to what is named "out".
    """

    @property
    def lines(self) -> Sequence[str]: ...

    @property
    def pointers(self) -> Mapping[str, str]: ...

    @property
    def clobbered(self) -> Sequence[str]: ...


def pinned(assembly: Assembly) -> Iterator[str]:
    """The body of a function whose parameters are the pointers."""
    for name, register in assembly.pointers.items():
        const = "" if name == "out" else "const "
        yield f'  register {const}float *moved_{name} __asm__("{register}") = {name};'
    moved = ", ".join(f'[{name}] "+r"(moved_{name})' for name in assembly.pointers)
    changed = ", ".join(f'"{name}"' for name in (*assembly.clobbered, "cc", "memory"))
    yield "  __asm__ volatile("
    yield from (f'      "{line}\\n\\t"' for line in assembly.lines)
    yield f"      : {moved}"
    yield "      :"
    yield f"      : {changed});"
