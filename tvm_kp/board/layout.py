"""What lies in a project folder: text made from a model, a target and the templates.

model/    the model's C and header          include/  the harness's headers, its buffers
src/      the harness                       board/    start-up code, linker script, memories
Makefile  project.json
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from tvm_kp.artifacts import Model, TensorSpec
from tvm_kp.board import toolchain
from tvm_kp.target import Target

FORMAT = 1
_TEMPLATES = Path(__file__).parent / "templates"


def write_project(model: Model, target: Target, folder: Path) -> None:
    """Write the whole project of ``model`` for ``target`` into the empty ``folder``."""
    toolchain.write_sources(model, folder / "model")
    harness = _TEMPLATES / ("firmware" if _is_bare(target) else "host")
    for part, pattern in (("src", "*.c"), ("include", "*.h")):
        (folder / part).mkdir()
        for path in sorted(harness.glob(pattern)):
            shutil.copyfile(path, folder / part / path.name)
    _write(folder / "include" / "kp_model.h", _fill("kp_model.h.in", _buffers(model)))
    if _is_bare(target):
        _write_board(model, target, folder / "board")
    _write(folder / "Makefile", _fill("Makefile.in", _make_variables(model, target)))
    description = {"format": FORMAT, "target": target.to_dict(), "model": _describe(model)}
    _write(folder / "project.json", json.dumps(description, indent=2, sort_keys=True) + "\n")


def image_name(target: Target) -> str:
    """The file that a build makes."""
    return "firmware.elf" if _is_bare(target) else "libmodel.so"


def link_flags(target: Target, board: Path | str) -> tuple[str, ...]:
    """How an image is linked whose board files lie in ``board``."""
    if target.toolchain.linker_script is None:
        return (*target.toolchain.ldflags, "-shared")
    script = f"-T{board}/{target.toolchain.linker_script.name}"
    return (*target.toolchain.ldflags, f"-L{board}", script, "-Wl,--gc-sections")


def harness_flags(target: Target) -> tuple[str, ...]:
    """What the harness is compiled with beside the flags of everything."""
    if not _is_bare(target):
        return ()
    return (f"-DKP_TICKS_PER_INSTRUCTION={target.runner.ticks_per_instruction}",)


def _is_bare(target: Target) -> bool:
    """Whether an image is the only thing on its machine."""
    return target.toolchain.linker_script is not None


def _write_board(model: Model, target: Target, folder: Path) -> None:
    folder.mkdir()
    for path in (target.toolchain.linker_script, target.toolchain.startup):
        assert path is not None, "a bare target has both"
        shutil.copyfile(path, folder / path.name)
    memories = "\n".join(
        f"  {name} : ORIGIN = {m.origin:#010x}, LENGTH = {m.length:#010x}"
        for name, m in target.memories.items()
    )
    rodata = toolchain.constants_memory(model.constants_bytes, target)
    text = f"/* The memories of {target.name}. */\nMEMORY {{\n{memories}\n}}\n"
    text += f'REGION_ALIAS("rodata", {rodata})\n'
    _write(folder / "memory.ld", text)


def _make_variables(model: Model, target: Target) -> dict[str, str]:
    return {
        "TITLE": f"Model {model.name} for {target.name}.",
        "COMPILER": target.toolchain.prefix + "gcc",
        "CFLAGS": " ".join((*toolchain.cflags(target), *harness_flags(target))),
        "MODEL_CFLAGS": " ".join(toolchain.MODEL_CFLAGS),
        "LDFLAGS": " ".join(link_flags(target, "board")),
        "LDLIBS": " ".join(toolchain.LDLIBS),
        "IMAGE": image_name(target),
    }


def _buffers(model: Model) -> dict[str, str]:
    """The parts of kp_model.h: a buffer for each tensor, tables and structs that point to them."""
    both = (("INPUT", model.inputs), ("OUTPUT", model.outputs))
    values = {
        "NAME": model.name,
        "HEADER": model.header_name,
        "OPERATOR_COUNT": str(len(model.operators)),
        **_entry(model),
        "BUFFERS": "\n".join(
            f"static uint8_t {_buffer(kind, t)}[{t.nbytes}] __attribute__((aligned(16)));"
            for kind, tensors in both
            for t in tensors
        ),
    }
    for kind, tensors in both:
        names = [(t.name, _buffer(kind, t)) for t in tensors]
        values[f"{kind}_COUNT"] = str(len(tensors))
        values[f"{kind}_TABLE"] = _rows(f"{{{b}, sizeof {b}}}" for _, b in names)
        values[f"{kind}_FIELDS"] = _rows(f".{name} = {b}" for name, b in names)
    return values


def _entry(model: Model) -> dict[str, str]:
    """How one inference is run, and what comes before the first."""
    entry, *resets = model.entries
    state = ", &kp_state" if resets else ""
    return {
        "STATE": f"static struct tvmgen_{model.name}_state kp_state;" if resets else "",
        "START": f"{resets[0]}(&kp_state)" if resets else "0",
        "RUN": f"{entry}(&kp_input_struct, &kp_output_struct{state})",
    }


def _buffer(kind: str, tensor: TensorSpec) -> str:
    return f"kp_{kind.lower()}_{tensor.name}"


def _rows(rows: Iterable[str]) -> str:
    return "\n".join(f"    {row}," for row in rows)


def _describe(model: Model) -> dict[str, object]:
    """The model without its C, which lies beside, and without what only the compiler needs."""
    return {
        "name": model.name,
        "target": model.target,
        "inputs": [asdict(t) for t in model.inputs],
        "outputs": [asdict(t) for t in model.outputs],
        "operators": [asdict(o) for o in model.operators],
        "workspace_bytes": model.workspace_bytes,
        "constants_bytes": model.constants_bytes,
        "tables_bytes": model.tables_bytes,
        "state_bytes": model.state_bytes,
    }


def _fill(template: str, values: Mapping[str, str]) -> str:
    text = (_TEMPLATES / template).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
