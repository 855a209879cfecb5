"""The firmware that calls kernels to try: a harness of its own, and a table of the kernels."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm_kp.board import toolchain
from tvm_kp.board.layout import HOST_DRIVEN, harness_flags, line_harness, link_flags, uart_source
from tvm_kp.board.template import TEMPLATES
from tvm_kp.board.trial_layout import TrialLayout
from tvm_kp.target import Target, is_attached
from tvm_kp.uart import STEPS

_IDENTITY_BYTES = 8
_COUNTER_BITS = 24
# The largest body of a message, and its part of the variables: there are several buffers of it.
_BODY_BYTES, _BODY_SHARE = 512, 8


@dataclass(frozen=True)
class TrialImage:
    """A firmware: its file, where its parts are, and what its HELLO says of it."""

    path: Path
    layout: TrialLayout
    identity: bytes


def build_image(
    kernels: Sequence[tuple[str, Path]],
    memory_bytes: int,
    limit: int,
    target: Target,
    folder: Path,
) -> TrialImage:
    """The image of ``kernels`` (symbols and the objects that define them), made in ``folder``.

    It calls them by their positions, with memories of up to ``memory_bytes``; a call of ``limit``
    instructions, on an attached board cycles, or somewhat more ends it.

    Raises MissingToolError, BuildError, and FitError if a memory is too small.
    """
    script, startup = target.toolchain.linker_script, target.toolchain.startup
    assert script is not None and startup is not None, "a board has both"
    layout = TrialLayout(target, memory_bytes)
    identity = _identity(kernels, layout)
    shutil.copyfile(script, folder / script.name)
    (folder / "memory.ld").write_text(_memories(layout), encoding="utf-8")
    (folder / "kp_memories.h").write_text(_addresses(layout), encoding="utf-8")
    table = _table([name for name, _ in kernels], identity)
    (folder / "kp_kernels.c").write_text(table, encoding="utf-8")
    harness = [TEMPLATES / name for name in _harness(target)]
    sources = [startup, folder / "kp_kernels.c"]
    sources += [path for part in harness for path in sorted(part.glob("*.c"))]
    if is_attached(target) and target.uart is not None and target.uart.driver == STEPS:
        (folder / "uart.c").write_text(uart_source(target), encoding="utf-8")
        sources.append(folder / "uart.c")
    includes = (f"-I{path}" for path in (folder, TEMPLATES / "measure", *harness))
    flags = (*includes, *_flags(layout, limit))
    objects = toolchain.compile_objects(sources, target, folder, flags)
    objects += dict.fromkeys(path for _, path in kernels)
    stack = f"-Wl,--defsym=__stack_size={layout.stack_bytes}"
    path = folder / "trials.elf"
    toolchain.link(objects, target, path, (*link_flags(target, folder), stack))
    return TrialImage(path, layout, identity)


def _harness(target: Target) -> tuple[str, ...]:
    """The folders of templates: calls come in a file, or over the line of an attached board."""
    if is_attached(target):
        return ("trials", "trials/line", *line_harness(target))
    return ("trials", "trials/files", "firmware", "semihosting")


def _flags(layout: TrialLayout, limit: int) -> tuple[str, ...]:
    target = layout.target
    ticks = int(limit * (target.runner.ticks_per_instruction or 1))
    wraps = (ticks >> _COUNTER_BITS) + 1
    body = min(layout.part_bytes // _BODY_SHARE, _BODY_BYTES)
    own = (f"-DKP_LIMIT_WRAPS={wraps}", f"-DKP_BODY_BYTES={body}")
    return (*harness_flags(target, HOST_DRIVEN), *own)


def _identity(kernels: Sequence[tuple[str, Path]], layout: TrialLayout) -> bytes:
    digest = hashlib.sha256(repr(layout.addresses()).encode())
    for symbol, path in kernels:
        digest.update(symbol.encode() + path.read_bytes())
    return digest.digest()[:_IDENTITY_BYTES]


def _memories(layout: TrialLayout) -> str:
    """The memories for the linker: of the RAM what is not for the memories of the calls."""
    memories = layout.target.memories
    lengths = {name: m.length for name, m in memories.items()} | {"ram": layout.harness_bytes}
    rows = (
        f"  {name} : ORIGIN = {m.origin:#010x}, LENGTH = {lengths[name]:#010x}"
        for name, m in memories.items()
    )
    rodata = "constants" if "constants" in memories else "flash"
    return "\n".join(["MEMORY {", *rows, "}", f'REGION_ALIAS("rodata", {rodata})', ""])


def _addresses(layout: TrialLayout) -> str:
    """kp_memories.h."""
    rows = layout.addresses().items()
    return "".join(f"#define KP_{key} {address:#010x}u\n" for key, address in rows)


def _table(symbols: Sequence[str], identity: bytes) -> str:
    """kp_kernels.c, a file of its own: a kernel may be called like anything in the harness."""
    lines = ['#include "isolate.h"', "extern const uint8_t kp_identity[];"]
    lines += ["extern const uint16_t kp_counted_operators;", "extern const kp_kernel kp_kernels[];"]
    lines += [f"void {symbol}(unsigned char *memory);" for symbol in symbols]
    lines += [f"const kp_kernel kp_kernels[] = {{{', '.join(symbols)}}};"]
    lines += [f"const uint16_t kp_counted_operators = {len(symbols)};"]
    lines += [f"const uint8_t kp_identity[] = {{{', '.join(map(str, identity))}}};", ""]
    return "\n".join(lines)
