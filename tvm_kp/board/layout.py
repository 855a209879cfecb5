"""What lies in a project folder: text made from a model, a target and the templates.

model/    the model's code and header        include/  the harness's headers, its buffers
src/      the harness                       board/    start-up code, linker script, memories
Makefile  CMakeLists.txt  project.json
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from textwrap import indent

from tvm_kp.artifacts import Model
from tvm_kp.board import toolchain
from tvm_kp.board.model_header import POOL_SECTION, identity, model_header
from tvm_kp.board.template import TEMPLATES, filled
from tvm_kp.errors import TargetError
from tvm_kp.target import Target, is_attached
from tvm_kp.uart import STEPS, statements

FORMAT = 4
BATCH, HOST_DRIVEN = "batch", "host_driven"
KINDS = (HOST_DRIVEN, BATCH)
# Without an operating system a compiler's test program cannot be linked.
_CMAKE_SYSTEM = """\
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
"""


def write_project(model: Model, target: Target, kind: str, folder: Path) -> None:
    """Write the whole project of ``model`` for ``target``, one of ``KINDS``, into the empty
    ``folder``. Raises TargetError for a host-driven one if the target has no UART."""
    toolchain.write_sources(model, folder / "model")
    harness = _harness(target, kind)
    for part, pattern in (("src", "*.c"), ("include", "*.h")):
        (folder / part).mkdir()
        for path in (p for name in harness for p in sorted((TEMPLATES / name).glob(pattern))):
            shutil.copyfile(path, folder / part / path.name)
    _write(folder / "include" / "kp_model.h", model_header(model))
    if _is_bare(target):
        _write_board(model, target, kind, folder / "board")
    for name in ("Makefile", "CMakeLists.txt"):
        _write(folder / name, filled(f"{name}.in", _build_variables(model, target, kind)))
    description = {
        "format": FORMAT,
        "kind": kind,
        "identity": identity(model).hex(),
        "target": target.to_dict(),
        "model": _describe(model),
    }
    _write(folder / "project.json", json.dumps(description, indent=2, sort_keys=True) + "\n")


def image_name(target: Target, kind: str) -> str:
    """The file that a build makes."""
    if _is_bare(target):
        return "firmware.elf"
    return "firmware" if kind == HOST_DRIVEN else "libmodel.so"


def link_flags(target: Target, board: Path | str, kind: str = BATCH) -> tuple[str, ...]:
    """How an image is linked whose board files lie in ``board``."""
    if target.toolchain.linker_script is None:
        return (*target.toolchain.ldflags, *(["-shared"] if kind == BATCH else []))
    script = f"-T{board}/{target.toolchain.linker_script.name}"
    return (*target.toolchain.ldflags, f"-L{board}", script, "-Wl,--gc-sections")


def harness_flags(target: Target, kind: str = BATCH) -> tuple[str, ...]:
    """What the harness is compiled with beside the flags of everything."""
    if not _is_bare(target):
        return ()
    values: dict[str, object] = {}
    if target.runner.ticks_per_instruction:
        values["TICKS_PER_INSTRUCTION"] = target.runner.ticks_per_instruction
    if kind == HOST_DRIVEN and target.uart is not None and target.uart.driver != STEPS:
        values |= {
            "UART": f"{target.uart.origin:#010x}u",
            "UART_INTERRUPT": f"{target.uart.interrupt}u",
            "UART_CLOCK_HZ": f"{target.uart.clock_hz}u",
            "UART_BAUD": f"{target.uart.baud}u",
        }
    return tuple(f"-DKP_{name}={value}" for name, value in values.items())


def _harness(target: Target, kind: str) -> tuple[str, ...]:
    """The folders of templates that a project is made of."""
    if kind == BATCH and is_attached(target):
        raise TargetError(
            f"{target.name} is attached and answers sessions alone: tvm-kp micro create makes a "
            "project for it, micro flash puts that on the board, and run drives it"
        )
    if kind == BATCH:
        bare = ("measure", "firmware", "semihosting", "batch")
        return bare if _is_bare(target) else ("host",)
    if not _is_bare(target):
        return ("measure", "link", "link/session", "link/host")
    if target.uart is None:
        raise TargetError(
            f"{target.name} has no [uart] in its description, so no host can drive it: add one, "
            f"or make a project with project_type={BATCH}"
        )
    return ("link/session", *line_harness(target))


def line_harness(target: Target) -> tuple[str, ...]:
    """The folders of templates with what answers commands over a board's serial line."""
    assert target.uart is not None
    common = ("measure", "firmware", "link", "link/cortex_m")
    return common if target.uart.driver == STEPS else (*common, f"link/{target.uart.driver}")


def uart_source(target: Target) -> str:
    """The driver of a UART that is described by steps."""
    assert target.uart is not None
    values = {
        "TITLE": target.name,
        "SETUP": indent(statements(target.uart.setup), "  "),
        "READ": indent(statements(target.uart.read), "  "),
        "WRITE": indent(statements(target.uart.write), "    "),
    }
    return filled("uart.c.in", values)


def _is_bare(target: Target) -> bool:
    """Whether an image is the only thing on its machine."""
    return target.toolchain.linker_script is not None


def _write_board(model: Model, target: Target, kind: str, folder: Path) -> None:
    folder.mkdir()
    if kind == HOST_DRIVEN and target.uart is not None and target.uart.driver == STEPS:
        _write(folder / "uart.c", uart_source(target))
    for path in (target.toolchain.linker_script, target.toolchain.startup):
        assert path is not None, "a bare target has both"
        shutil.copyfile(path, folder / path.name)
    memories = "\n".join(
        f"  {name} : ORIGIN = {m.origin:#010x}, LENGTH = {m.length:#010x}"
        for name, m in target.memories.items()
    )
    rodata = toolchain.constants_memory(model.constants_bytes, target, model.constants_section)
    text = f"/* The memories of {target.name}. */\nMEMORY {{\n{memories}\n}}\n"
    text += f'REGION_ALIAS("rodata", {rodata})\n' + _pool_sections(model, target)
    _write(folder / "memory.ld", text)


def _pool_sections(model: Model, target: Target) -> str:
    """Where the pools lie that the target has a memory for; the others lie in RAM."""
    own = [pool.name for pool in model.pools if toolchain.own_memory(pool.name, target)]
    rows = "\n".join(
        f"  .pool.{name} (NOLOAD) : {{ *({POOL_SECTION}{name}) }} > {name}" for name in own
    )
    return f"SECTIONS {{\n{rows}\n}}\n" if own else ""


def _build_variables(model: Model, target: Target, kind: str) -> dict[str, str]:
    """How make and CMake build a project; they take paths from different folders."""
    image, shared = Path(image_name(target, kind)), not _is_bare(target) and kind == BATCH
    add = f"add_{'library(image SHARED' if shared else 'executable(image'}"
    cmake_board = "${CMAKE_CURRENT_SOURCE_DIR}/board"
    return {
        "SYSTEM": _CMAKE_SYSTEM if _is_bare(target) else "",
        "ADD_IMAGE": f"{add} ${{HARNESS}} ${{COMPILED}})",
        "CMAKE_LDFLAGS": " ".join(link_flags(target, cmake_board, kind)),
        "STEM": image.stem,
        "SUFFIX": image.suffix,
        "TITLE": f"Model {model.name} for {target.name}.",
        "COMPILER": target.toolchain.prefix + "gcc",
        "CFLAGS": " ".join((*toolchain.cflags(target), *harness_flags(target, kind))),
        "MODEL_CFLAGS": " ".join(toolchain.MODEL_CFLAGS),
        "LDFLAGS": " ".join(link_flags(target, "board", kind)),
        "LDLIBS": " ".join(toolchain.LDLIBS),
        "IMAGE": image_name(target, kind),
    }


def _describe(model: Model) -> dict[str, object]:
    """The model without its C, which lies beside, and without what only the compiler needs."""
    return {
        "name": model.name,
        "target": model.target,
        "core": model.core,
        "inputs": [asdict(t) for t in model.inputs],
        "outputs": [asdict(t) for t in model.outputs],
        "operators": [asdict(o) for o in model.operators],
        "workspace_bytes": model.workspace_bytes,
        "constants_bytes": model.constants_bytes,
        "tables_bytes": model.tables_bytes,
        "state_bytes": model.state_bytes,
        "pools": [asdict(pool) for pool in model.pools],
        "pool_alignment": model.pool_alignment,
        "workspace_io": model.workspace_io,
        "constants_section": model.constants_section,
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
