"""What an object (ELF) has in it, read without the tools of a compiler."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_SYMBOLS = 2  # type of a section
_WRITE, _ALLOC = 1, 2  # flags
_WEAK = 2  # binding
_NAMED = (1, 2)  # types of symbols: object, function


@dataclass(frozen=True)
class Symbol:
    """A function or object of ``nbytes`` in ``section``.

    One without a section is defined elsewhere, and ``is_needed`` unless it is weak.
    """

    name: str
    nbytes: int
    section: str
    is_needed: bool


@dataclass(frozen=True)
class _Section:
    name: int
    kind: int
    flags: int
    offset: int
    nbytes: int
    link: int


class ObjectFile:
    """The sections and symbols of an object for a 32-bit core, little end first.

    ``flash`` and ``ram`` have the bytes of every section that is loaded there.
    """

    def __init__(self, content: bytes) -> None:
        assert content[:6] == b"\x7fELF\x01\x01", "no such object"
        self._content = content
        (start,) = struct.unpack_from("<I", content, 32)
        size, count, names = struct.unpack_from("<HHH", content, 46)
        self._sections = [self._section(start + k * size) for k in range(count)]
        self._names = [self._text(self._sections[names], s.name) for s in self._sections]
        self.flash, self.ram = dict[str, int](), dict[str, int]()
        for name, section in zip(self._names, self._sections, strict=True):
            if section.flags & _ALLOC:
                memory = self.ram if section.flags & _WRITE else self.flash
                memory[name] = memory.get(name, 0) + section.nbytes

    def symbols(self) -> Iterator[Symbol]:
        """Functions and objects, and what is used but not defined."""
        table = next(s for s in self._sections if s.kind == _SYMBOLS)
        texts = self._sections[table.link]
        for place in range(table.offset + 16, table.offset + table.nbytes, 16):
            name, _, nbytes, info, _, where = struct.unpack_from("<IIIBBH", self._content, place)
            if where == 0 or info & 15 in _NAMED:
                section = self._names[where] if 0 < where < len(self._names) else ""
                needed = where == 0 and info >> 4 != _WEAK
                yield Symbol(self._text(texts, name), nbytes, section, needed)

    def _section(self, place: int) -> _Section:
        name, kind, flags, _, offset, nbytes, link = struct.unpack_from("<7I", self._content, place)
        return _Section(name, kind, flags, offset, nbytes, link)

    def _text(self, texts: _Section, place: int) -> str:
        start = texts.offset + place
        return self._content[start : self._content.index(b"\0", start)].decode()
