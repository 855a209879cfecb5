"""Frozen dataclasses from TOML tables, every key validated; errors say where and what instead."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from tvm_kp.errors import TargetError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Record = TypeVar("Record")


def read(path: Path) -> dict[str, Any]:
    """The table in a file. Raises TargetError for what is not TOML, OSError for no file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TargetError(f"{path}: is not TOML: {error}") from None


def unknown(what: str, found: str, known: tuple[str, ...], where: str = "") -> TargetError:
    """The error that ``found`` is none of ``known``, with the nearest of them."""
    near = difflib.get_close_matches(found, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return TargetError(f"unknown {what} {found!r}{where}; {hint}")


def expect(condition: bool, where: str, key: str, message: str) -> None:
    """Raise TargetError about ``key`` in ``where`` unless ``condition``."""
    if not condition:
        raise TargetError(f"{where}: {key} {message}")


def record(
    kind: type[Record], table: object, where: str, prefix: str, folders: Sequence[Path]
) -> Record:
    """A ``kind`` made from ``table``, each key known, present if it must be, and of its type.

    ``where`` and ``prefix`` name the table in errors. A field that is a path takes the name of a
    file, which lies in the first of ``folders`` that has it. Raises TargetError.
    """
    if not isinstance(table, Mapping):
        raise TargetError(f"{where}: {prefix.rstrip('.')} must be a table")
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise unknown("key", f"{prefix}{key}", tuple(prefix + k for k in known), f" in {where}")
    for key, f in known.items():
        required = f.default is MISSING and f.default_factory is MISSING
        expect(key in table or not required, where, prefix + key, "is missing")
    return kind(
        **{k: _value(v, str(known[k].type), where, prefix + k, folders) for k, v in table.items()}
    )


def _value(value: Any, kind: str, where: str, key: str, folders: Sequence[Path]) -> Any:
    """``value`` as a field annotated ``kind`` has it."""
    if kind == "str":
        expect(isinstance(value, str), where, key, f"must be a string, not {value!r}")
    elif kind == "int":
        good = type(value) is int and value >= 0
        expect(good, where, key, f"must be a whole number from 0, not {value!r}")
    elif kind == "float":
        good = type(value) in (int, float) and value >= 0
        expect(good, where, key, f"must be a number from 0, not {value!r}")
        return float(value)
    elif kind == "tuple[str, ...]":
        good = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
        expect(good, where, key, f"must be a list of strings, not {value!r}")
        return tuple(value)
    elif kind == "Path | None":
        return _file(value, where, key, folders)
    return value


def _file(value: Any, where: str, key: str, folders: Sequence[Path]) -> Path:
    """The file ``value`` in the first folder that has it."""
    good = isinstance(value, str) and value and Path(value).name == value
    expect(bool(good), where, key, f"must be a file name without a folder, not {value!r}")
    for place in folders:
        if (place / value).is_file():
            return place / value
    raise TargetError(f"{where}: {key} names {value}, which is neither in {folders[0]} nor shipped")
