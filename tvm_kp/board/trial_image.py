"""The firmware that calls kernels to try: a harness of its own, and a table of the kernels."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tvm_kp.board import toolchain
from tvm_kp.board.layout import harness_flags, link_flags
from tvm_kp.board.template import TEMPLATES
from tvm_kp.errors import FitError
from tvm_kp.target import Target

_HARNESS = ("trials", "firmware", "semihosting")

# The RAM begins with a stack for kernels, one for the harness, and variables.
_STACK_BYTES = 1 << 16
_HARNESS_BYTES = 4 * _STACK_BYTES
_COUNTER_BITS = 24


def build_image(
    kernels: Sequence[tuple[str, Path]],
    memory_bytes: int,
    limit: int,
    target: Target,
    folder: Path,
) -> Path:
    """The image of ``kernels`` (symbols and the objects that define them), made in ``folder``.

    It calls them by their positions, with memories of up to ``memory_bytes``; a call of ``limit``
    instructions or somewhat more ends it.

    Raises MissingToolError, BuildError, and FitError if a memory is too small.
    """
    script, startup = target.toolchain.linker_script, target.toolchain.startup
    assert script is not None and startup is not None, "an emulated target has both"
    _check_room(memory_bytes, target)
    shutil.copyfile(script, folder / script.name)
    (folder / "memory.ld").write_text(_memories(target), encoding="utf-8")
    (folder / "kp_memories.h").write_text(_addresses(target), encoding="utf-8")
    (folder / "kp_kernels.c").write_text(_table([name for name, _ in kernels]), encoding="utf-8")
    wraps = (int(limit * target.runner.ticks_per_instruction) >> _COUNTER_BITS) + 1
    harness = [TEMPLATES / name for name in _HARNESS]
    includes = (f"-I{path}" for path in (folder, TEMPLATES / "measure", *harness))
    flags = (*includes, *harness_flags(target), f"-DKP_LIMIT_WRAPS={wraps}")
    sources = [startup, folder / "kp_kernels.c"]
    sources += [path for part in harness for path in sorted(part.glob("*.c"))]
    objects = toolchain.compile_objects(sources, target, folder, flags)
    objects += dict.fromkeys(path for _, path in kernels)
    stack = f"-Wl,--defsym=__stack_size={2 * _STACK_BYTES}"
    image = folder / "trials.elf"
    toolchain.link(objects, target, image, (*link_flags(target, folder), stack))
    return image


def _check_room(memory_bytes: int, target: Target) -> None:
    ram = target.memories["ram"]
    # An eighth of the RAM is the least that the MPU keeps closed: see isolate.h.
    room = ram.length - max(_HARNESS_BYTES, ram.length // 8)
    if memory_bytes > room:
        raise FitError(
            f"a trial needs {memory_bytes} bytes of memory, {target.name} has room for {room}; "
            "try a smaller operator or choose a larger board"
        )


def _memories(target: Target) -> str:
    """The memories for the linker: of the RAM what is not for the memories of the calls."""
    lengths = {name: m.length for name, m in target.memories.items()} | {"ram": _HARNESS_BYTES}
    rows = (
        f"  {name} : ORIGIN = {m.origin:#010x}, LENGTH = {lengths[name]:#010x}"
        for name, m in target.memories.items()
    )
    rodata = "constants" if "constants" in target.memories else "flash"
    return "\n".join(["MEMORY {", *rows, "}", f'REGION_ALIAS("rodata", {rodata})', ""])


def _addresses(target: Target) -> str:
    """kp_memories.h: where the memories begin and end."""
    ram, flash = target.memories["ram"], target.memories["flash"]
    addresses = {
        "CODE": flash.origin,
        "CODE_END": flash.end,
        "RAM": ram.origin,
        "MAIN_STACK": ram.origin + _STACK_BYTES,
        "VARIABLES": ram.origin + 2 * _STACK_BYTES,
        "MEMORY": ram.origin + _HARNESS_BYTES,
        "RAM_END": ram.end,
    }
    if constants := target.memories.get("constants"):
        addresses |= {"CONSTANTS": constants.origin, "CONSTANTS_END": constants.end}
    return "".join(f"#define KP_{key} {address:#010x}u\n" for key, address in addresses.items())


def _table(symbols: Sequence[str]) -> str:
    """kp_kernels.c, a file of its own: a kernel may be called like anything in the harness."""
    lines = ['#include "isolate.h"']
    lines += [f"void {symbol}(unsigned char *memory);" for symbol in symbols]
    lines += [f"const kp_kernel kp_kernels[] = {{{', '.join(symbols)}}};", ""]
    return "\n".join(lines)
