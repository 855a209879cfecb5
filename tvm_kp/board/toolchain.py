"""Compiling and linking with a target's toolchain, and the bytes that come of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tvm_kp import scratch
from tvm_kp.artifacts import Footprint, Model
from tvm_kp.board.object_file import ObjectFile
from tvm_kp.errors import BuildError, FitError, MissingToolError
from tvm_kp.target import HOST, Target

# The same arithmetic wherever a target has it: a product and a sum may be one instruction.
COMMON_CFLAGS = ("-std=c99", "-O3", "-ffunction-sections", "-fdata-sections", "-ffp-contract=fast")
MODEL_CFLAGS = ("-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Werror")
LDLIBS = ("-lm",)

_FLASH = (".text", ".rodata", ".ARM.ex", ".data")
_RAM = (".data", ".bss", ".noinit")
_SHOWN = 12


def is_installed(target: Target) -> bool:
    """Whether there is the compiler of the target's toolchain."""
    return shutil.which(target.toolchain.prefix + "gcc") is not None


def find(target: Target, tool: str = "gcc") -> Path:
    """The program ``tool`` of the target's toolchain; MissingToolError if it is not installed."""
    name = target.toolchain.prefix + tool
    found = shutil.which(name)
    if found is None:
        raise MissingToolError(
            f"{name} is not installed, {target.name} needs it; type: {target.toolchain.install}"
        )
    return Path(found)


def cflags(target: Target) -> tuple[str, ...]:
    """What everything for ``target`` is compiled with."""
    return (*COMMON_CFLAGS, *target.toolchain.cflags)


def compile_objects(
    sources: Iterable[Path], target: Target, out_dir: Path, extra_flags: Sequence[str] = ()
) -> list[Path]:
    """Compile each source into ``out_dir``; the objects, in order. Raises BuildError."""
    compiler = find(target)

    def compile_one(item: tuple[int, Path]) -> Path:
        index, source = item
        # Sources of two folders may share a name.
        result = out_dir / f"{index}_{source.stem}.o"
        command = [*cflags(target), *extra_flags, "-c", str(source), "-o", str(result)]
        _run(compiler, command, target, source.name)
        return result

    out_dir.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, enumerate(sources)))


def link(objects: Sequence[Path], target: Target, image: Path, flags: Sequence[str]) -> None:
    """Link ``objects`` into ``image``. Raises BuildError, or FitError if a memory is too small."""
    command = [*cflags(target), *map(str, objects), *flags, *LDLIBS, "-o", str(image)]
    _run(find(target), command, target, image.name)


def footprint(model: Model, target: Target) -> Footprint:
    """The bytes of ``model`` on ``target``, without harness but with what it pulls in.

    An image is linked whose only roots are the model's entries; nothing unused is counted. Without
    a compiler objects are measured as they are.
    """
    if model.objects and target.core != HOST and not is_installed(target):
        return _of_object(model)
    find(target)
    with scratch.folder() as folder:
        sources = write_sources(model, folder)
        flags = (*MODEL_CFLAGS, "-fstack-usage", "-I", str(folder))
        objects = compile_objects(sources, target, folder / "objects", flags)
        stack = _stack(folder / "objects") if sources else None
        image = folder / "model.elf"
        roots = ",".join(f"-u,{name}" for name in model.entries)
        entry = f"-Wl,--gc-sections,{roots},-e,{model.entries[0]}"
        objects += objects_of(folder)
        link(objects, target, image, ("-nostartfiles", entry))
        sections = _sections(image, target)
        symbols = _symbols(image, target)
    in_flash = (*_FLASH, model.constants_section)
    flash = sum(size for name, size in sections if name.startswith(in_flash))
    ram = sum(size for name, size in sections if name.startswith(_RAM))
    return replace(_footprint(model, flash, ram, symbols), stack_bytes=stack)


# What TVM puts into every object, and a linker leaves out if nothing uses it.
_UNUSED = ".text.tvm.fp16.conv"


def _of_object(model: Model) -> Footprint:
    """What is known without a linker: the C library's functions by name alone."""
    (content,) = (model.objects[name] for name in model.objects if "/" not in name)
    found = ObjectFile(content)
    defined = [
        (f"{s.name} ({'ram' if s.section in found.ram else 'flash'})", s.nbytes)
        for s in found.symbols()
        if s.section and not s.section.endswith(_UNUSED)
    ]
    in_flash = (*_FLASH, model.constants_section)
    flash = sum(
        nbytes
        for name, nbytes in found.flash.items()
        if name.startswith(in_flash) and not name.endswith(_UNUSED)
    )
    whole = _footprint(model, flash, sum(found.ram.values()), defined)
    needed = sorted(s.name for s in found.symbols() if s.is_needed)
    return replace(whole, stack_bytes=None, uncounted=tuple(needed))


def _footprint(model: Model, flash: int, ram: int, symbols: Sequence[tuple[str, int]]) -> Footprint:
    """That of a model whose image has so many bytes in both memories."""
    io = () if model.workspace_io else model.inputs + model.outputs
    tensors = [(f"{t.name} (input or output, ram)", t.nbytes) for t in io]
    tensors += [(f"{pool.name} (workspace pool)", pool.nbytes) for pool in model.pools]
    return Footprint(
        code_bytes=flash - model.constants_bytes,
        tables_bytes=model.tables_bytes,
        weights_bytes=model.constants_bytes - model.tables_bytes,
        ram_bytes=ram + model.io_bytes + model.state_bytes + sum(p.nbytes for p in model.pools),
        sections=tuple(sorted([*symbols, *tensors], key=lambda row: -row[1])),
        pools=model.pools,
        constants_section=model.constants_section,
    )


def _stack(folder: Path) -> int:
    """Bytes of stack that a model needs, the C library left out.

    The functions of its first file, entry and main, call each other, and then one operator.
    """
    entry, *operators = (_frames(path) for path in sorted(folder.glob("*.su")))
    return sum(entry) + max((max(frames, default=0) for frames in operators), default=0)


def _frames(path: Path) -> list[int]:
    """What GCC says of the stack of every function in a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [int(line.split("\t")[1]) for line in lines]


def own_memory(name: str, target: Target) -> str | None:
    """The memory that the target has for what is called ``name``, beside flash and RAM."""
    return name if name in target.memories and name not in ("flash", "ram") else None


def constants_memory(constants_bytes: int, target: Target, section: str = "") -> str:
    """The memory in which a model's constants lie: one called like their ``section``, else flash,
    unless they would crowd out the code there and the target has a memory for them."""
    if (own := own_memory(section.removeprefix("."), target)) is not None:
        return own
    crowded = constants_bytes > target.memories["flash"].length // 2
    return "constants" if crowded and "constants" in target.memories else "flash"


def check_fit(footprint: Footprint, target: Target) -> None:
    """Raises FitError, with the table of what takes the room, if a memory is too small."""
    if "flash" not in target.memories:
        return
    needs = {"flash": footprint.code_bytes, "ram": footprint.ram_bytes}
    constants = footprint.weights_bytes + footprint.tables_bytes
    parts = [(constants_memory(constants, target, footprint.constants_section), constants)]
    for pool in footprint.pools:
        needs["ram"] -= pool.nbytes
        parts.append((own_memory(pool.name, target) or "ram", pool.nbytes))
    for place, nbytes in parts:
        needs[place] = needs.get(place, 0) + nbytes
    over = [
        f"{name} {need} of {target.memories[name].length} bytes"
        for name, need in needs.items()
        if need > target.memories[name].length
    ]
    if over:
        rows = (f"  {size:>10}  {what}" for what, size in footprint.sections[:_SHOWN])
        table = "\n".join(["what takes the room (bytes):", *rows])
        raise FitError(
            f"the model does not fit {target.name}: {', '.join(over)}; "
            f"compress it or choose a larger board; {table}"
        )


def write_sources(model: Model, folder: Path) -> list[Path]:
    """Write the model's header, sources and objects into ``folder``; the paths of the sources."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in model.objects.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / model.header_name).write_text(model.header, encoding="utf-8")
    paths = [folder / name for name in model.sources]
    for path, text in zip(paths, model.sources.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def objects_of(folder: Path, hooks: bool = False) -> list[Path]:
    """The objects of a model that ``write_sources`` wrote, with or without hooks."""
    return sorted((folder / "hooks" if hooks else folder).glob("*.o"))


def _sections(image: Path, target: Target) -> list[tuple[str, int]]:
    """Name and bytes of every section of ``image``."""
    lines = _run(find(target, "size"), ["-A", "-d", str(image)], target, image.name).splitlines()
    rows = (line.split() for line in lines)
    return [(r[0], int(r[1])) for r in rows if len(r) == 3 and r[0].startswith(".")]


def _symbols(image: Path, target: Target) -> list[tuple[str, int]]:
    """Label and bytes of every function and object in ``image``."""
    text = _run(find(target, "nm"), ["-S", str(image)], target, image.name)
    rows = [r for r in map(str.split, text.splitlines()) if len(r) == 4 and r[2] in "bBdDrRtTwW"]
    # One row an address: a library function may have several names.
    named = {address: (name, kind, int(size, 16)) for address, size, kind, name in rows}
    return [(f"{n} ({'ram' if k in 'bBdD' else 'flash'})", size) for n, k, size in named.values()]


def _run(tool: Path, arguments: Sequence[str], target: Target, what: str) -> str:
    """Standard output of a tool; its complaint as an error in one line."""
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    text = done.stderr
    if missing := re.search(r"fatal error: (\w+\.h): No such file|cannot find (-l[mc])\b", text):
        name = missing[1] or missing[2]
        if name.startswith("-l") or name in ("stdint.h", "string.h", "math.h"):
            install = target.toolchain.install
            raise MissingToolError(
                f"the C library of {tool.name} ({name}) is missing; type: {install}"
            )
    if full := re.search(r"region `(\w+)' overflowed by (\d+) bytes", text):
        memory, over = full.groups()
        raise FitError(
            f"{what} does not fit {target.name}: {memory} lacks {over} bytes; "
            "compress the model or choose a larger board"
        )
    told = re.compile("[Ee]rror|undefined reference|multiple definition")
    first = next(filter(told.search, text.splitlines()), text.strip()[:200])
    raise BuildError(f"{tool.name} refused {what}: {first.strip()}")
