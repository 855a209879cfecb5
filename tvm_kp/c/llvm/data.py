"""What TIR has no form for, as LLVM's text: weights, workspace, and where they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from tvm_kp.c.emission import Emission
from tvm_kp.c.plan import aligned
from tvm_kp.c.program import Buffer

CONSTANT, WORKSPACE, FIELD, BEHIND = "kp_constant", "kp_workspace", "kp_field", "kp_behind"

_ACCESS = f"""\
define ptr @{FIELD}(ptr %struct, i32 %index) {{
  %place = getelementptr ptr, ptr %struct, i32 %index
  %field = load ptr, ptr %place
  ret ptr %field
}}
define ptr @{BEHIND}(ptr %start, i32 %bytes) {{
  %place = getelementptr i8, ptr %start, i32 %bytes
  ret ptr %place
}}"""

_HOOKS = ("tvmgen_profile_begin", "tvmgen_profile_end", "tvmgen_trace")

# Nothing throws here, which LLVM cannot know of functions that are elsewhere: it says how to unwind
# them, and the library that would do that is not to be linked.
_NO_UNWINDER = tuple(f".weak __aeabi_unwind_cpp_pr{k}" for k in range(3))


def assembly_text(thumb: bool, hooks: bool) -> str:
    """What the text of LLVM has no form for either.

    With ``hooks`` there are some that do nothing, in place of which others are linked; functions
    of a module that TVM imports are always inline.
    """
    lines = [*_NO_UNWINDER] if thumb else []
    for name in _HOOKS if hooks else ():
        lines += [".text", f".weak {name}", *([".thumb_func"] if thumb else [])]
        lines += [f".type {name}, %function", f"{name}:", "bx lr" if thumb else "ret"]
    return "\n".join(f'module asm "{line}"' for line in lines)


def data_text(emission: Emission) -> str:
    """The globals of a model and functions that give pointers into them."""
    return "\n".join([_ACCESS, *_constants(emission), *_workspace(emission)])


def places(buffers: Iterable[Buffer], alignment: int) -> dict[Buffer, int]:
    """The byte at which each of ``buffers``, one after the other, begins."""
    found, end = {}, 0
    for buffer in buffers:
        found[buffer] = end
        end += aligned(buffer.nbytes, alignment)
    return found


def _constants(emission: Emission) -> Iterator[str]:
    content = b"".join(
        np.ascontiguousarray(buffer.value)
        .tobytes()
        .ljust(aligned(buffer.nbytes, emission.alignment), b"\0")
        for buffer in emission.constants
    )
    if content:
        text = "".join(f"\\{byte:02X}" for byte in content)
        yield (
            f"@global_const_workspace = internal constant [{len(content)} x i8] "
            f'c"{text}", section "{emission.constants_section}", align {emission.alignment}'
        )
        yield _pointer_into("global_const_workspace", CONSTANT)


def _workspace(emission: Emission) -> Iterator[str]:
    if emission.memory.workspace_bytes and not emission.memory.pools:
        yield (
            f"@global_workspace = internal global [{emission.memory.workspace_bytes} x i8] "
            f'zeroinitializer, section ".bss.noinit.tvm", align {emission.alignment}'
        )
        yield _pointer_into("global_workspace", WORKSPACE)


def _pointer_into(name: str, function: str) -> str:
    return f"""\
define ptr @{function}(i32 %bytes) {{
  %place = getelementptr i8, ptr @{name}, i32 %bytes
  ret ptr %place
}}"""
