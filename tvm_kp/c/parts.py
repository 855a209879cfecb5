"""In which parts tiles cover rows or columns, and loops the steps that they go over."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """``times`` parts of a ``size``, a ``step`` apart, from the ``first`` row or column on."""

    times: int
    first: int
    step: int
    size: int


def runs(length: int, size: int, overlaps: bool) -> list[Run]:
    """``length`` in parts of a size; a last one that would be smaller is, or ``overlaps`` the one
    before."""
    whole, rest = divmod(length, size)
    parts = [Run(whole, 0, size, size)] if whole else []
    if not rest:
        return parts
    if not whole or not overlaps:
        return [*parts, Run(1, whole * size, 0, rest)]
    last = length - size
    return [Run(2, 0, last, size)] if whole == 1 else [*parts, Run(1, last, 0, size)]


def split(count: int, unit: int, most: int) -> tuple[int, int, int]:
    """``count`` steps: how many in front of a loop, times around it, and steps in it.

    No loop is needed for up to ``most``; one has half as many, in whole units where it can.
    """
    if count <= most:
        return count, 0, 0
    trip = max(1, min(most, count) // 2)
    trip -= trip % unit if trip > unit else 0
    return count % trip, count // trip, trip
