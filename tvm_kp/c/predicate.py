"""The lanes of vectors that instructions of MVE are for."""

from __future__ import annotations

from collections.abc import Sequence


class Predicate:
    """What P0 says, as far as it is known: ``lines`` set it only where it differs.

    r0 holds nothing there.
    """

    def __init__(self, lines: list[str]) -> None:
        self._lines, self._set = lines, ""

    def first(self, count: int, bits: int) -> None:
        """Let the first ``count`` lanes of so many ``bits`` take part."""
        self._let(f"movs r0, #{count}", f"vctp.{bits} r0")

    def words(self, lanes: Sequence[bool]) -> None:
        """Let those of the four lanes of a vector take part that are true."""
        mask = sum(0xF << 4 * k for k, taken in enumerate(lanes) if taken)
        self._let(f"movw r0, #{mask}", "vmsr p0, r0")

    def forget(self) -> None:
        """It is not known here what is set: where a loop begins, and behind it."""
        self._set = ""

    def _let(self, *instructions: str) -> None:
        if self._set != instructions[0]:
            self._lines.extend(instructions)
            self._set = instructions[0]
