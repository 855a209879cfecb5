"""LLVM's text of the helpers that sum outer products of floats, with the assembly of the C's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tvm_kp.c.float_blocks import Blocks
from tvm_kp.c.fpu_helpers import is_sums, parse_sums
from tvm_kp.c.inline_assembly import clobbered
from tvm_kp.c.instructions import words
from tvm_kp.c.outer_helpers import is_outer, parse_outer
from tvm_kp.c.stationary_helpers import is_stationary, parse_stationary


def outer_text(name: str) -> str:
    """The definition of the helper ``name``; "" if it is another one."""
    if is_sums(name):
        return "\n".join(_scalar(name))
    if is_stationary(name):
        columns = parse_stationary(name)
        return "\n".join(_blocks(name, columns.blocks, columns.lines))
    if is_outer(name):
        tiles = parse_outer(name)
        return "\n".join(_blocks(name, tiles.blocks, tiles.lines))
    return ""


def _scalar(name: str) -> Iterator[str]:
    """What ``fpu_helpers`` has in C."""
    tile = parse_sums(name)
    values = {pointer: f"ptr %{pointer}" for pointer in ("out", "b", "start", *tile.scalars)}
    values |= {"times": f"i32 {tile.looped[1]}", "zero": "i32 0"}
    yield _head(name, ("out", "a", "b"), tile.start)
    for row, pointer in enumerate(tile.scalars[1:], 1):
        yield f"  %{pointer} = getelementptr float, ptr %a, i32 {row * tile.depth}"
    zero = ("zero",) if tile.starts_at_zero else ()
    changed = dict.fromkeys(tile.changed, "=&r")
    clobbered = [f"s{k}" for k in range(tile.registers)]
    kept = dict.fromkeys((*tile.kept, *zero), "r")
    yield from _assembly(tile.lines, changed, kept, values, clobbered)


def _blocks(name: str, blocks: Blocks, lines: Sequence[str]) -> Iterator[str]:
    """What ``float_blocks`` has in C."""
    yield _head(name, ("out", "scalars", "vectors"), blocks.start)
    values = {pointer: f"ptr %{pointer}" for pointer in blocks.pointers}
    changed, kept = dict.fromkeys(values, "=&r"), dict.fromkeys(words(lines), "*m")
    yield from (f"  %{word} = alloca i32" for word in kept)
    values |= {word: f"ptr elementtype(i32) %{word}" for word in kept}
    yield from _assembly(lines, changed, kept, values, clobbered(lines))


def _head(name: str, pointers: Sequence[str], start: str) -> str:
    named = (*pointers, *(() if start == "none" else ("start",)))
    return f"define i32 @{name}({', '.join(f'ptr %{pointer}' for pointer in named)}) {{"


def _assembly(
    lines: Sequence[str],
    changed: Mapping[str, str],
    kept: Mapping[str, str],
    values: Mapping[str, str],
    clobbered: Sequence[str],
) -> Iterator[str]:
    """The instructions, whose operands start as ``values``, and the end of the function.

    ``changed`` are those that they change, ``kept`` the others, with LLVM's constraints.
    """
    count = len(changed)
    text = "\\0A".join(lines)
    for place, operand in enumerate(changed):
        text = text.replace(f"%[{operand}]", f"${place}")
    for place, operand in enumerate(kept, 2 * count):
        text = text.replace(f"%[{operand}]", f"${place}")
    constraints = [*changed.values(), *map(str, range(count)), *kept.values()]
    constraints += [f"~{{{register}}}" for register in (*clobbered, "cc", "memory")]
    arguments = ", ".join(values[operand] for operand in (*changed, *kept))
    types = ", ".join(values[operand].split()[0] for operand in changed)
    yield f'  %moved = call {{ {types} }} asm sideeffect "{text}", "{",".join(constraints)}"'
    yield f"    ({arguments}) nounwind"
    yield "  ret i32 0"
    yield "}"
