"""Loads of the scalars that vectors are multiplied by, as many at a time as there are registers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from tvm_kp.c.instructions import Instructions

# Ascending, as load-multiples fill them. The others are for pointers, and r7 for that of frames.
SCALARS = ("r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12")


@dataclass
class Scalars(ABC):
    """Those of ``count`` steps from a ``place`` on, each of some ``rows``.

    The ``code`` loads them when they are asked for, in the order of products.
    """

    code: Instructions
    place: int
    count: int
    rows: int
    loaded: int = -1

    def register(self, row: int, k: int) -> str:
        """Where the scalar of a row at a step is."""
        group, index = self._found(row, k)
        if group != self.loaded:
            self._load(group)
            self.loaded = group
        return SCALARS[index]

    @abstractmethod
    def _found(self, row: int, k: int) -> tuple[int, int]:
        """With which load a scalar comes, and to which register."""

    @abstractmethod
    def _load(self, group: int) -> None: ...


@dataclass
class Packed(Scalars):
    """Scalars that lie in the order of products; those of a step are loaded together where these
    are ``whole``, as several vectors need them."""

    whole: bool = False

    @property
    def _together(self) -> int:
        return len(SCALARS) - (len(SCALARS) % self.rows if self.whole else 0)

    def _found(self, row: int, k: int) -> tuple[int, int]:
        return divmod(k * self.rows + row, self._together)

    def _load(self, group: int) -> None:
        first = group * self._together
        registers = SCALARS[: min(self._together, self.count * self.rows - first)]
        self.code.words(registers, "scalars", self.place + 4 * first)


@dataclass
class Rows(Scalars):
    """Scalars that lie row by row, ``apart`` bytes: a load takes what of a row fits.

    Those of the first row, to which the pointer goes, have the registers that are left.
    """

    apart: int = 0

    @property
    def _together(self) -> int:
        return len(SCALARS) // self.rows

    @property
    def _first(self) -> int:
        return len(SCALARS) - (self.rows - 1) * self._together

    def _found(self, row: int, k: int) -> tuple[int, int]:
        group, step = divmod(k, self._together)
        return group, self._first + (row - 1) * self._together + step if row else k % self._first

    def _load(self, group: int) -> None:
        k = group * self._together
        begin = k - k % self._first
        first = SCALARS[: min(self._first, self.count - begin)]
        # The load of the first row can take the pointer behind that, where it stays for others.
        at = begin if k == begin else begin + len(first)
        self.code.go("scalars", self.place + 4 * at)
        for row in range(1, self.rows):
            _, register = self._found(row, k)
            registers = SCALARS[register:][: min(self._together, self.count - k)]
            self.code.words_apart(registers, "scalars", self.place + 4 * k + row * self.apart)
        if k == begin:
            self.code.words(first, "scalars", self.place + 4 * k)
