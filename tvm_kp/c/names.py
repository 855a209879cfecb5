"""Names that C allows."""

from __future__ import annotations

import re

_RESERVED = """
auto bool break case char class const continue default delete do double else enum extern float for
goto if inline int long new private public register restrict return short signed sizeof static
struct switch this typedef union unsigned void volatile while
"""
_KEYWORDS = frozenset(_RESERVED.split())


def c_part(name: str) -> str:
    """``name`` with everything that C does not allow in an identifier replaced by ``_``."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def c_name(name: str) -> str:
    """``c_part`` that can stand alone: a digit in front or a keyword gets a ``_``."""
    cleaned = c_part(name)
    return f"_{cleaned}" if cleaned[:1].isdigit() or cleaned in _KEYWORDS else cleaned
