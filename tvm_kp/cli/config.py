"""``--config FILE.json``: the flags of a command from a file, in tvmc's layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tvm_kp.errors import InputError


def flags_from_file(path: Path) -> list[str]:
    """The flags that a configuration file stands for; ``InputError`` if it cannot be read.

    ``{"targets": [{"kind": "c", "mcpu": "cortex-m4"}], "executor": {"kind": "aot",
    "interface-api": "c"}, "pass-config": {"a": "b"}, "report": "r.html"}`` becomes ``--target c
    --target-c-mcpu=cortex-m4 --executor aot --executor-aot-interface-api=c --pass-config=a=b
    --report=r.html``.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read --config {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"--config {path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f'--config {path} must hold an object, {{"flag": value, …}}')
    return [flag for name, value in values.items() for flag in _flags(path, name, value)]


def _flags(path: Path, name: str, value: Any) -> Iterator[str]:
    match name, value:
        case "targets", [{**target}]:
            yield from _kind_flags(path, "target", target)
        case "targets", _:
            raise InputError(f'--config {path}: "targets" takes a list of one object with "kind"')
        case (("executor" | "runtime"), {**settings}):
            yield from _kind_flags(path, name, settings)
        case "pass-config", {**settings}:
            yield from (f"--pass-config={key}={_text(entry)}" for key, entry in settings.items())
        case _, bool():
            yield from [f"--{name}"] if value else []
        case _, (str() | int() | float()):
            yield f"--{name}={value}"
        case _:
            raise InputError(f'--config {path}: "{name}" takes a text, a number, true or false')


def _kind_flags(path: Path, name: str, settings: Mapping[Any, Any]) -> Iterator[str]:
    if "kind" not in settings:
        raise InputError(f'--config {path}: "{name}" has no "kind"')
    kind = settings["kind"]
    yield f"--{name}={kind}"
    for key, value in settings.items():
        if key != "kind":
            yield f"--{name}-{kind}-{key}={_text(value)}"


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
