"""Files of projects that are copied from templates, with @KEYS@ filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tvm_kp.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"


def fill(text: str, values: Mapping[str, str], where: object) -> str:
    """``text`` with its keys filled; raises InputError, which says ``where``, for one of none of
    the ``values``."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise InputError(f"{where}: there is no key @{match[1]}@, only {', '.join(values)}")
        return values[match[1]]

    return re.sub("@([A-Z_]+)@", value, text)


def filled(name: str, values: Mapping[str, str]) -> str:
    """The text of the file ``name`` of `TEMPLATES`, filled."""
    path = TEMPLATES / name
    return fill(path.read_text(encoding="utf-8"), values, path)
