"""Targets: what a board has and how it is built for and run, read from TOML and validated.

A target is a record in a file, never a case in the code: shipped boards and a user's own come
in by the same door, `Target.load`.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tvm_kp import toml_record
from tvm_kp.codegen import KINDS, LLVM, Codegen, llvm_codegen, tvm_target
from tvm_kp.codegen import validate as validate_codegen
from tvm_kp.errors import TargetError
from tvm_kp.toml_record import expect, record, unknown
from tvm_kp.uart import Uart
from tvm_kp.uart import validate as validate_uart

HOST = "host"
PLATFORMS = ("host", "mps2", "board")
# Of no board: a model as a library for firmware that somebody else builds.
LIBRARY_PLATFORMS = ("cmake", "zephyr", "arduino")
TEMPLATE = "template"  # of what an own folder of templates makes
RUNNERS = ("host", "qemu", "serial")

# What each core can have; a board of that core may have less. MVE has integers alone, or floats
# too, "mve.fp" as compilers call it.
CORES: dict[str, frozenset[str]] = {
    HOST: frozenset(),
    "cortex-m0": frozenset(),
    "cortex-m0plus": frozenset(),
    "cortex-m3": frozenset(),
    "cortex-m4": frozenset({"dsp", "fpu"}),
    "cortex-m7": frozenset({"dsp", "fpu"}),
    "cortex-m33": frozenset({"dsp", "fpu"}),
    "cortex-m55": frozenset({"dsp", "fpu", "mve", "mve.fp"}),
    "cortex-m85": frozenset({"dsp", "fpu", "mve", "mve.fp"}),
}


@dataclass(frozen=True)
class Memory:
    """A memory of a board: its first address and its bytes."""

    origin: int
    length: int

    @property
    def end(self) -> int:
        return self.origin + self.length


@dataclass(frozen=True)
class Toolchain:
    """How C becomes an image: ``prefix`` + ``gcc`` compiles, ``install`` is what to type to get it.

    ``cflags`` are those of the core alone. ``linker_script`` and ``startup`` are files beside the
    TOML, or shipped ones; a target that runs on the host has neither.
    """

    prefix: str
    install: str
    cflags: tuple[str, ...] = ()
    ldflags: tuple[str, ...] = ()
    linker_script: Path | None = None
    startup: Path | None = None


@dataclass(frozen=True)
class Runner:
    """How an image is run, and what is typed to ``install`` what that takes.

    ``qemu`` emulates a ``machine`` and counts: its clock advances 2**icount_shift ns an
    instruction, which is ``ticks_per_instruction`` ticks of SysTick. ``serial`` is an attached
    board: ``flash`` is the command that puts ``{image}`` on it, its ``port`` (a device or a URL of
    pyserial) is that of the USB device ``usb``, "vendor:product", unless it is given.
    """

    kind: str
    install: str = ""
    machine: str = ""
    icount_shift: int = 0
    ticks_per_instruction: float = 0.0
    timeout_s: float = 60.0
    flash: tuple[str, ...] = ()
    usb: str = ""
    port: str = ""


@dataclass(frozen=True)
class Target:
    """What code is compiled for. Memories called ``flash`` and ``ram`` are what images use;
    one called ``constants`` takes constants that would crowd out the code in flash."""

    name: str
    core: str
    platform: str
    toolchain: Toolchain
    runner: Runner
    description: str = ""
    note: str = ""
    isa: tuple[str, ...] = ()
    memories: Mapping[str, Memory] = field(default_factory=dict)
    uart: Uart | None = None
    codegen: Codegen = field(default_factory=Codegen)

    @classmethod
    def load(cls, spec: str) -> Target:
        """The target that ``spec`` names: a shipped name, a path to a TOML, or an old tvmc
        spelling (``c -mcpu=cortex-m4``, inline JSON, or a path to such JSON).

        Raises TargetError: unknown (with the nearest names), or a description that makes no sense.
        """
        text = spec.strip()
        if text in names():
            return _from_toml(content_dir("targets") / f"{text}.toml")
        if text.endswith(".toml"):
            return _from_toml(Path(text))
        if text.startswith("{") or text.endswith(".json"):
            return _from_tvm(_json_table(text), spec)
        words = _split(text)
        if words and (kind := words[0].removeprefix("-target=")) in KINDS:
            return _from_tvm({"kind": kind, **_options(words)}, spec)
        raise unknown("target", text, names())

    @classmethod
    def from_dict(cls, table: Mapping[str, Any], folder: Path, where: str) -> Target:
        """The validated target of a table as in a TOML; ``where`` names it in errors.

        Raises TargetError for unknown or missing keys, wrong types and impossible pairs.
        """
        parts: dict[str, Any] = dict(table)
        folders = folder, content_dir("targets")
        for key, kind in (
            ("toolchain", Toolchain),
            ("runner", Runner),
            ("uart", Uart),
            ("codegen", Codegen),
        ):
            if key in parts:
                parts[key] = record(kind, parts[key], where, f"{key}.", folders)
        memories = parts.get("memories", {})
        expect(isinstance(memories, dict), where, "memories", "must be a table of memories")
        parts["memories"] = {
            name: record(Memory, m, where, f"memories.{name}.", folders)
            for name, m in memories.items()
        }
        target = record(cls, parts, where, "", folders)
        _validate(target, where)
        return target

    @property
    def llvm(self) -> dict[str, Any]:
        """The target of TVM that has its LLVM write objects for this one."""
        can, cflags = sorted(CORES[self.core]), self.toolchain.cflags
        return tvm_target(self.codegen, self.core, can, self.isa, cflags)

    def to_dict(self) -> dict[str, Any]:
        """The table that `from_dict` reads, for JSON; files by their names alone."""
        table = asdict(self)
        tools = table["toolchain"]
        for key in ("linker_script", "startup"):
            if tools[key] is None:
                del tools[key]
            else:
                tools[key] = tools[key].name
        if self.uart is None:
            del table["uart"]
        return table


def check_counts(target: Target, instead: str) -> None:
    """Raises TargetError, which says what to do ``instead``, unless C runs, and instructions or
    cycles are counted."""
    if target.codegen.kind == LLVM:
        raise TargetError(
            f"kernels are tried as C, and this target is of kind {LLVM}: give {target.name} of "
            "kind c; what is found counts for both"
        )
    if target.runner.kind == HOST:
        raise TargetError(f"{target.name} counts no instructions: {instead}")


def is_attached(target: Target) -> bool:
    """Whether it is a board at a port, which is flashed and measures cycles."""
    return target.runner.kind == "serial"


def at_port(target: Target, port: str | None) -> Target:
    """``target`` with the serial ``port`` of an attached board, if one is given.

    Raises TargetError if ``target`` is not attached.
    """
    if port is None:
        return target
    if not is_attached(target):
        raise TargetError(f"{target.name} is not attached to a port: leave out its port")
    return replace(target, runner=replace(target.runner, port=port))


def names() -> tuple[str, ...]:
    """The names of the shipped targets."""
    return tuple(sorted(p.stem for p in content_dir("targets").glob("*.toml")))


def content_dir(name: str) -> Path:
    """The folder ``targets`` or ``schedules``, in an installed package or in a checkout."""
    package = Path(__file__).resolve().parent
    # The package first: beside an installed one lie other people's folders.
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def _from_toml(path: Path) -> Target:
    try:
        table = toml_record.read(path)
    except OSError as error:
        raise TargetError(
            f"{path}: cannot be read ({error.strerror}); there are {', '.join(names())}"
        ) from None
    return Target.from_dict(table, path.resolve().parent, str(path))


def _from_tvm(table: Mapping[str, Any], spec: str) -> Target:
    """The shipped target that has the core of a target of TVM, for code of its kind."""
    core = table.get("mcpu")
    expect(core is None or isinstance(core, str), spec, "mcpu", "must be a string")
    shipped = {t.core: t for t in map(Target.load, reversed(names()))}
    found = shipped.get(core or HOST)
    if found is None:
        raise unknown("core", core or "", tuple(sorted(shipped)), f" in {spec!r}")
    if table["kind"] == "c":
        return found
    return replace(found, codegen=llvm_codegen(table, spec))


def _json_table(text: str) -> dict[str, Any]:
    try:
        content = text if text.startswith("{") else Path(text).read_text(encoding="utf-8")
        table = json.loads(content)
    except OSError as error:
        raise TargetError(f"{text}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise TargetError(f"{text}: is not JSON: {error}") from None
    if not isinstance(table, dict) or table.get("kind") not in KINDS:
        raise TargetError(f'{text}: expected a target like {{"kind": "c", "mcpu": "cortex-m4"}}')
    return table


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise TargetError(f"target {text!r} cannot be read: {error}") from None


def _options(words: list[str]) -> dict[str, str]:
    """What ``-name=value`` and ``--name=value`` among ``words`` say, the first of each."""
    pairs = (word.lstrip("-").partition("=") for word in reversed(words[1:]))
    return {key: value for key, _, value in pairs}


def _validate(target: Target, where: str) -> None:
    """Refuse the pairs that cannot be."""
    if target.core not in CORES:
        raise unknown("core", target.core, tuple(CORES), f" in {where}")
    for flag in target.isa:
        can = ", ".join(sorted(CORES[target.core])) or "none"
        good = flag in CORES[target.core]
        expect(good, where, "isa", f"has {flag!r}, which {target.core} cannot have (can: {can})")
    needed = {"fpu", "mve"}
    good = "mve.fp" not in target.isa or needed <= set(target.isa)
    expect(good, where, "isa", "has 'mve.fp', which takes fpu and mve too")
    good = target.platform in PLATFORMS
    expect(good, where, "platform", f"is {target.platform!r}; there are {', '.join(PLATFORMS)}")
    kind = target.runner.kind
    expect(
        (kind == "serial") == (target.platform == "board"),
        where,
        "platform and runner.kind",
        "must be board and serial both or none",
    )
    expect(kind in RUNNERS, where, "runner.kind", f"is {kind!r}; there are {', '.join(RUNNERS)}")
    expect(target.runner.timeout_s > 0, where, "runner.timeout_s", "must be above 0")
    pair = {target.core == HOST, target.platform == "host", kind == "host"}
    expect(len(pair) == 1, where, "core, platform and runner.kind", "must be host all or none")
    validate_codegen(target.codegen, where)
    if target.core != HOST:
        _validate_board(target, where)


def _validate_board(target: Target, where: str) -> None:
    for name in ("flash", "ram"):
        expect(name in target.memories, where, f"memories.{name}", "is missing")
    for key in ("linker_script", "startup"):
        expect(getattr(target.toolchain, key), where, f"toolchain.{key}", "is missing")
    if is_attached(target):
        _validate_attached(target, where)
    else:
        for key in ("machine", "ticks_per_instruction"):
            expect(bool(getattr(target.runner, key)), where, f"runner.{key}", "is missing")
    if target.uart is not None:
        validate_uart(target.uart, where)
    in_order = sorted(target.memories.items(), key=lambda item: item[1].origin)
    for name, memory in in_order:
        expect(memory.length > 0, where, f"memories.{name}.length", "must be above 0")
        expect(memory.end <= 1 << 32, where, f"memories.{name}", "ends beyond 32-bit addresses")
    for (a, first), (b, second) in itertools.pairwise(in_order):
        good = first.end <= second.origin
        expect(good, where, f"memories.{a}", f"overlaps memories.{b} at {second.origin:#x}")


def _validate_attached(target: Target, where: str) -> None:
    """What it takes to put a firmware on a board and to find its line."""
    expect(target.uart is not None, where, "uart", "is missing: an attached board needs one")
    runner = target.runner
    good = any("{image}" in word for word in runner.flash)
    expect(good, where, "runner.flash", "must be a command with {image}, the file to put there")
    good = bool(runner.port) or re.fullmatch("[0-9a-f]{4}:[0-9a-f]{4}", runner.usb) is not None
    expect(good, where, "runner", 'must have usb, such as "0483:374b", or port')
    good = not (runner.machine or runner.ticks_per_instruction)
    expect(good, where, "runner", "emulates nothing: leave out machine and ticks_per_instruction")
