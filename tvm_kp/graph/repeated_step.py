"""Find operators that repeat in an unrolled function, and prove that they are one step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import relax

from tvm_kp.graph.rewrite import name_of
from tvm_kp.graph.unrolled import Base, Row, Unrolled, leaves

FEWEST = 3  # repetitions that are a loop
_LAGS = 4  # repetitions of one operator within a step that a period is still found for


@dataclass(frozen=True)
class Local:
    """The result of operator ``index`` of the same step."""

    index: int


@dataclass(frozen=True)
class Carried:
    """The result of operator ``index`` of the step before."""

    index: int


@dataclass(frozen=True)
class Slice:
    """Row ``first + t * stride`` of ``source`` along ``axis`` in step t."""

    source: relax.Var
    axis: int
    first: int
    stride: int


@dataclass(frozen=True)
class Same:
    """The same value in every step."""

    base: Base


Role = Local | Carried | Slice | Same


@dataclass(frozen=True)
class RepeatedStep:
    """``steps`` times ``period`` operators from ``start`` on that do the same.

    ``roles`` has one role an operand, operator after operator; ``initial`` the operand of the
    first step in the place of each carried result.
    """

    start: int
    period: int
    steps: int
    roles: tuple[Role, ...]
    initial: dict[int, relax.Expr]

    @property
    def end(self) -> int:
        return self.start + self.period * self.steps


@dataclass(frozen=True)
class Refusal:
    """Why ``steps`` repetitions of ``period`` operators are not one step."""

    period: int
    steps: int
    reason: str


def find(unrolled: Unrolled) -> tuple[RepeatedStep | None, list[Refusal]]:
    """The repetition that covers most operators, and what was refused before it was found."""
    refused: list[Refusal] = []
    for start, period, length in candidates(unrolled.kinds):
        if not _has_product(unrolled, start, period):
            continue
        tried = [
            prove(unrolled, start + phase, period, (length - phase) // period)
            for phase in range(min(period, length - FEWEST * period + 1))
        ]
        proved = [one for one in tried if isinstance(one, RepeatedStep)]
        if proved:
            return max(proved, key=lambda one: one.steps), refused
        refused += [one for one in tried[:1] if isinstance(one, Refusal)]
    return None, refused


def candidates(kinds: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(start, period, length) of stretches that repeat, longest first, shortest period first."""
    found = []
    for period in _periods(kinds):
        same = np.concatenate([[False], kinds[:-period] == kinds[period:], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            length = int(last - first) + period
            if length >= FEWEST * period:
                found.append((int(first), period, length))
    yield from sorted(found, key=lambda one: (-(one[2] // one[1]) * one[1], one[1]))


def _periods(kinds: np.ndarray) -> list[int]:
    order = np.argsort(kinds, kind="stable")
    gaps = [
        (order[lag:] - order[:-lag])[kinds[order[lag:]] == kinds[order[:-lag]]]
        for lag in range(1, min(_LAGS, len(order)))
    ]
    periods = np.unique(np.concatenate(gaps)) if gaps else np.array([], np.intp)
    return [int(period) for period in periods if period * FEWEST <= len(kinds)]


def prove(unrolled: Unrolled, start: int, period: int, most: int) -> RepeatedStep | Refusal:
    """The longest repetition from ``start`` on of at most ``most`` steps that is one step."""
    head = [_operands(unrolled, start, period, t) for t in range(FEWEST)]
    roles: list[Role] = []
    for operands in zip(*head, strict=True):
        role = _role(unrolled, operands, start, period)
        if role is None:
            return Refusal(period, most, _reason(unrolled, start, period, len(roles)))
        roles.append(role)
    initial = _initial(unrolled, roles, start, period)
    if initial is None:
        return Refusal(period, most, "a carried value starts as two different ones")
    steps = FEWEST
    while steps < most and _holds(unrolled, roles, start, period, steps):
        steps += 1
    return RepeatedStep(start, period, steps, tuple(roles), initial)


def _operands(unrolled: Unrolled, start: int, period: int, t: int) -> list[Base]:
    first = start + t * period
    return [base for at in range(first, first + period) for base in unrolled.bases(at)]


def _role(unrolled: Unrolled, operands: Sequence[Base], start: int, period: int) -> Role | None:
    """The role of one operand in the first, second and third step."""
    zeroth, first, second = operands
    offsets = [_offset(unrolled, base, start, period, t) for t, base in enumerate(operands)]
    if offsets[1] is not None and offsets[1] == offsets[2]:
        if 0 <= offsets[1] < period and offsets[0] == offsets[1]:
            return Local(offsets[1])
        if -period <= offsets[1] < 0 and _outside(unrolled, zeroth, start):
            return Carried(offsets[1] + period)
        return None
    if not _outside(unrolled, zeroth, start):
        return None
    if zeroth == first == second:
        return Same(zeroth)
    return _sequence(zeroth, first, second)


def _sequence(zeroth: Base, first: Base, second: Base) -> Slice | None:
    if not (isinstance(zeroth, Row) and isinstance(first, Row)):
        return None
    stride = first.index - zeroth.index
    role = Slice(zeroth.source, zeroth.axis, zeroth.index, stride)
    return role if _row_of(role, 1) == first and _row_of(role, 2) == second else None


def _row_of(role: Slice, t: int) -> Row:
    return Row(role.source, role.axis, role.first + t * role.stride)


def _offset(unrolled: Unrolled, base: Base, start: int, period: int, t: int) -> int | None:
    """Where an operand of step ``t`` is computed, from the start of that step."""
    position = unrolled.position.get(base) if isinstance(base, relax.Var) else None
    return None if position is None else position - start - t * period


def _outside(unrolled: Unrolled, base: Base, start: int) -> bool:
    """Whether ``base`` is known before the repetition."""
    if isinstance(base, Row):
        return _outside(unrolled, unrolled.base(base.source), start)
    return not isinstance(base, relax.Var) or unrolled.position.get(base, -1) < start


def _initial(
    unrolled: Unrolled, roles: Sequence[Role], start: int, period: int
) -> dict[int, relax.Expr] | None:
    """What each carried result is in the first step, None if that is not one value."""
    operands = [
        leaf for at in range(start, start + period) for leaf in leaves(unrolled.operators[at].value)
    ]
    initial: dict[int, relax.Expr] = {}
    for role, operand in zip(roles, operands, strict=True):
        if isinstance(role, Carried):
            known = initial.setdefault(role.index, operand)
            if unrolled.base(known) != unrolled.base(operand):
                return None
    return initial


def _holds(unrolled: Unrolled, roles: Sequence[Role], start: int, period: int, t: int) -> bool:
    for role, base in zip(roles, _operands(unrolled, start, period, t), strict=True):
        if isinstance(role, Local | Carried):
            wanted = role.index - (period if isinstance(role, Carried) else 0)
            if _offset(unrolled, base, start, period, t) != wanted:
                return False
        elif base != (_row_of(role, t) if isinstance(role, Slice) else role.base):
            return False
    return True


def _has_product(unrolled: Unrolled, start: int, period: int) -> bool:
    names = (name_of(b.value) for b in unrolled.operators[start : start + period])
    return any(name == "relax.matmul" for name in names)


def _reason(unrolled: Unrolled, start: int, period: int, operand: int) -> str:
    """Which operand of the step is not the same one in each."""
    for at in range(start, start + period):
        count = len(unrolled.bases(at))
        if operand < count:
            binding = unrolled.operators[at]
            name = name_of(binding.value).removeprefix("relax.") or "a field"
            return f"operand {operand + 1} of {name} ({binding.var.name}) differs between steps"
        operand -= count
    raise AssertionError("the operand is one of the step")
