"""Assembly in C, whose operands are pointers that it changes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from tvm_kp.c.instructions import words

_REGISTER = re.compile(r"\b(?:r\d+|lr|q\d)\b")
_NONE: Mapping[str, str] = {}


def inline_assembly(
    lines: Sequence[str], operands: Mapping[str, str], registers: Mapping[str, str] = _NONE
) -> Iterator[str]:
    """C that executes instructions; ``operands`` are variables of it, and types of them.

    ``registers`` are those that an operand has to be in.
    """
    variables = {name: f"moved_{name}" if name in registers else name for name in operands}
    for name, register in registers.items():
        declared = f"{operands[name]} {variables[name]}".replace("* ", "*")
        yield f'  register {declared} __asm__("{register}") = {name};'
    in_memory = words(lines)
    yield from (f"  uint32_t {name};" for name in in_memory)
    yield "  __asm__ volatile("
    yield from (f'      "{line}\\n\\t"' for line in lines)
    moved = [f'[{name}] "+r"({variable})' for name, variable in variables.items()]
    moved += [f'[{name}] "=m"({name})' for name in in_memory]
    yield f"      : {', '.join(moved)}"
    yield "      :"
    changed = [name for name in clobbered(lines) if name not in registers.values()]
    named = ", ".join(f'"{name}"' for name in (*changed, "cc", "memory"))
    yield f"      : {named});"


def clobbered(lines: Sequence[str]) -> list[str]:
    """The registers that instructions name."""
    return sorted({name for line in lines for name in _REGISTER.findall(line)})
