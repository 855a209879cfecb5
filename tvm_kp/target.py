"""Targets: what a board has and how it is built for and run, read from TOML and validated.

A target is a record in a file, never a case in the code: shipped boards and a user's own come
in by the same door, `Target.load`.
"""

from __future__ import annotations

import difflib
import itertools
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from tvm_kp.errors import TargetError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HOST = "host"
PLATFORMS = ("host", "mps2")
RUNNERS = ("host", "qemu")

# What each core can have; a board of that core may have less.
CORES: dict[str, frozenset[str]] = {
    HOST: frozenset(),
    "cortex-m0": frozenset(),
    "cortex-m0plus": frozenset(),
    "cortex-m3": frozenset(),
    "cortex-m4": frozenset({"dsp", "fpu"}),
    "cortex-m7": frozenset({"dsp", "fpu"}),
    "cortex-m33": frozenset({"dsp", "fpu"}),
    "cortex-m55": frozenset({"dsp", "fpu", "mve"}),
    "cortex-m85": frozenset({"dsp", "fpu", "mve"}),
}

Record = TypeVar("Record")


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
    """How an image is run. An emulator counts: its clock advances 2**icount_shift ns an
    instruction, which is ``ticks_per_instruction`` ticks of SysTick."""

    kind: str
    install: str = ""
    machine: str = ""
    icount_shift: int = 0
    ticks_per_instruction: float = 0.0
    timeout_s: float = 60.0


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
            return _from_core(_json_core(text), spec)
        words = _split(text)
        if words and words[0].removeprefix("-target=") in ("c", "llvm"):
            return _from_core(_option(words, "mcpu"), spec)
        raise _unknown("target", text, names())

    @classmethod
    def from_dict(cls, table: Mapping[str, Any], folder: Path, where: str) -> Target:
        """The validated target of a table as in a TOML; ``where`` names it in errors.

        Raises TargetError for unknown or missing keys, wrong types and impossible pairs.
        """
        parts: dict[str, Any] = dict(table)
        for key, kind in (("toolchain", Toolchain), ("runner", Runner)):
            if key in parts:
                parts[key] = _record(kind, parts[key], where, f"{key}.", folder)
        memories = parts.get("memories", {})
        _expect(isinstance(memories, dict), where, "memories", "must be a table of memories")
        parts["memories"] = {
            name: _record(Memory, m, where, f"memories.{name}.", folder)
            for name, m in memories.items()
        }
        target = _record(cls, parts, where, "", folder)
        _validate(target, where)
        return target

    def to_dict(self) -> dict[str, Any]:
        """The table that `from_dict` reads, for JSON; files by their names alone."""
        table = asdict(self)
        tools = table["toolchain"]
        for key in ("linker_script", "startup"):
            if tools[key] is None:
                del tools[key]
            else:
                tools[key] = tools[key].name
        return table


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
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TargetError(
            f"{path}: cannot be read ({error.strerror}); there are {', '.join(names())}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TargetError(f"{path}: is not TOML: {error}") from None
    return Target.from_dict(table, path.resolve().parent, str(path))


def _from_core(core: str | None, spec: str) -> Target:
    """The shipped target with ``core``, for the spellings that name a core and no board."""
    shipped = {t.core: t for t in map(Target.load, reversed(names()))}
    found = shipped.get(core or HOST)
    if found is None:
        raise _unknown("core", core or "", tuple(sorted(shipped)), f" in {spec!r}")
    return found


def _json_core(text: str) -> str | None:
    try:
        content = text if text.startswith("{") else Path(text).read_text(encoding="utf-8")
        table = json.loads(content)
    except OSError as error:
        raise TargetError(f"{text}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise TargetError(f"{text}: is not JSON: {error}") from None
    if not isinstance(table, dict) or table.get("kind") not in ("c", "llvm"):
        raise TargetError(f'{text}: expected a target like {{"kind": "c", "mcpu": "cortex-m4"}}')
    core = table.get("mcpu")
    _expect(core is None or isinstance(core, str), text, "mcpu", "must be a string")
    return core


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise TargetError(f"target {text!r} cannot be read: {error}") from None


def _option(words: list[str], name: str) -> str | None:
    """The value of ``-name=value`` or ``--name=value`` among ``words``, if there."""
    pairs = (word.lstrip("-").partition("=") for word in words[1:])
    return next((value for key, _, value in pairs if key == name), None)


def _unknown(what: str, found: str, known: tuple[str, ...], where: str = "") -> TargetError:
    near = difflib.get_close_matches(found, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return TargetError(f"unknown {what} {found!r}{where}; {hint}")


def _expect(condition: bool, where: str, key: str, message: str) -> None:
    if not condition:
        raise TargetError(f"{where}: {key} {message}")


def _record(kind: type[Record], table: object, where: str, prefix: str, folder: Path) -> Record:
    """A ``kind`` made from ``table``, each key known, present if it must be, and of its type."""
    if not isinstance(table, Mapping):
        raise TargetError(f"{where}: {prefix.rstrip('.')} must be a table")
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise _unknown(
                "key", f"{prefix}{key}", tuple(prefix + k for k in known), f" in {where}"
            )
    for key, f in known.items():
        required = f.default is MISSING and f.default_factory is MISSING
        _expect(key in table or not required, where, prefix + key, "is missing")
    return kind(
        **{k: _value(v, str(known[k].type), where, prefix + k, folder) for k, v in table.items()}
    )


def _value(value: Any, kind: str, where: str, key: str, folder: Path) -> Any:
    """``value`` as a field annotated ``kind`` has it."""
    if kind == "str":
        _expect(isinstance(value, str), where, key, f"must be a string, not {value!r}")
    elif kind == "int":
        good = type(value) is int and value >= 0
        _expect(good, where, key, f"must be a whole number from 0, not {value!r}")
    elif kind == "float":
        good = type(value) in (int, float) and value >= 0
        _expect(good, where, key, f"must be a number from 0, not {value!r}")
        return float(value)
    elif kind == "tuple[str, ...]":
        good = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
        _expect(good, where, key, f"must be a list of strings, not {value!r}")
        return tuple(value)
    elif kind == "Path | None":
        return _file(value, where, key, folder)
    return value


def _file(value: Any, where: str, key: str, folder: Path) -> Path:
    """The file ``value`` beside the description, else the shipped one of that name."""
    good = isinstance(value, str) and value and Path(value).name == value
    _expect(bool(good), where, key, f"must be a file name without a folder, not {value!r}")
    for place in (folder, content_dir("targets")):
        if (place / value).is_file():
            return place / value
    raise TargetError(f"{where}: {key} names {value}, which is neither in {folder} nor shipped")


def _validate(target: Target, where: str) -> None:
    """Refuse the pairs that cannot be."""
    if target.core not in CORES:
        raise _unknown("core", target.core, tuple(CORES), f" in {where}")
    for flag in target.isa:
        can = ", ".join(sorted(CORES[target.core])) or "none"
        good = flag in CORES[target.core]
        _expect(good, where, "isa", f"has {flag!r}, which {target.core} cannot have (can: {can})")
    good = target.platform in PLATFORMS
    _expect(good, where, "platform", f"is {target.platform!r}; there are {', '.join(PLATFORMS)}")
    kind = target.runner.kind
    _expect(kind in RUNNERS, where, "runner.kind", f"is {kind!r}; there are {', '.join(RUNNERS)}")
    _expect(target.runner.timeout_s > 0, where, "runner.timeout_s", "must be above 0")
    pair = {target.core == HOST, target.platform == "host", kind == "host"}
    _expect(len(pair) == 1, where, "core, platform and runner.kind", "must be host all or none")
    if target.core != HOST:
        _validate_board(target, where)


def _validate_board(target: Target, where: str) -> None:
    for name in ("flash", "ram"):
        _expect(name in target.memories, where, f"memories.{name}", "is missing")
    for key in ("linker_script", "startup"):
        _expect(getattr(target.toolchain, key), where, f"toolchain.{key}", "is missing")
    for key in ("machine", "ticks_per_instruction"):
        _expect(bool(getattr(target.runner, key)), where, f"runner.{key}", "is missing")
    in_order = sorted(target.memories.items(), key=lambda item: item[1].origin)
    for name, memory in in_order:
        _expect(memory.length > 0, where, f"memories.{name}.length", "must be above 0")
        _expect(memory.end <= 1 << 32, where, f"memories.{name}", "ends beyond 32-bit addresses")
    for (a, first), (b, second) in itertools.pairwise(in_order):
        good = first.end <= second.origin
        _expect(good, where, f"memories.{a}", f"overlaps memories.{b} at {second.origin:#x}")
