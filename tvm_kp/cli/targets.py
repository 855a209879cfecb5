"""``targets``: the shipped targets, or one of them whole."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from tvm_kp.cli import console
from tvm_kp.cli.options import add_verb
from tvm_kp.target import Target, names


def register(verbs: Any) -> None:
    """Add ``targets`` to the parser's ``verbs``."""
    parser = add_verb(verbs, "targets", "list the targets, or show one whole", run)
    parser.add_argument("NAME", nargs="?", help="a name or a TOML file")


def run(args: argparse.Namespace) -> int:
    """Print the table, or one target."""
    from tvm_kp.report import Table

    if args.NAME is None:
        found = [Target.load(name) for name in names()]
        rows = [(t.name, _core(t), _memories(t), t.description) for t in found]
        table = Table("", ("name", "core", "memories", "description"), tuple(rows))
    else:
        entries = _flat(Target.load(args.NAME).to_dict())
        table = Table("", ("key", "value"), tuple(entries))
    console.stdout().print(table)
    return 0


def _core(found: Target) -> str:
    return " ".join((found.core, *(f"+{flag}" for flag in found.isa)))


def _memories(found: Target) -> str:
    return ", ".join(f"{n} {_size(m.length)}" for n, m in found.memories.items()) or "–"


def _size(length: int) -> str:
    return f"{length // 1024} KB" if length % 1024 == 0 else f"{length} bytes"


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested tables as dotted keys, addresses and sizes as a linker script has them."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif prefix.startswith("memories."):
            yield prefix + key, _size(value) if key == "length" else f"{value:#010x}"
        else:
            yield prefix + key, " ".join(value) if isinstance(value, tuple | list) else str(value)
