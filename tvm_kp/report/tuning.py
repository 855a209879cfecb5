"""How far a session of tuning is, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tvm_kp.report.charts import SERIES, Lines
from tvm_kp.report.page import Section
from tvm_kp.report.table import Cell, Table
from tvm_kp.report.tables import COUNTED, NOTHING
from tvm_kp.tuning_records import INSTRUCTIONS

ESTIMATED = "Cycles are estimated: executed instructions times published costs, no wait states."


class Tuned(Protocol):
    """What a report reads of a kernel that is tuned; costs are those of a call."""

    @property
    def task(self) -> Any: ...
    @property
    def way(self) -> Any: ...
    @property
    def default(self) -> float | None: ...
    @property
    def best(self) -> float | None: ...
    @property
    def speed_up(self) -> float | None: ...
    @property
    def tried(self) -> int: ...
    @property
    def failures(self) -> Mapping[str, int]: ...
    @property
    def curve(self) -> Sequence[tuple[int, float]]: ...


def task_table(tasks: Sequence[Any]) -> Table:
    """The kernels of a model that can be tuned, by the numbers that ``--tasks`` takes."""
    rows = tuple((k, t.name, t.calls, len(t.ways), t.label) for k, t in enumerate(tasks))
    return Table("Kernels", ("task", "kernel", "calls", "ways", "what it is"), rows)


def tuning_table(rows: Sequence[Tuned], objective: str = INSTRUCTIONS, board: str = "") -> Table:
    """Default and best of every kernel, and of the whole inference; ``board`` measured them, if
    it was an attached one."""
    columns = ("kernel", "calls", "tried", "of", "default", "best", "speed-up", "failed", "way")
    lines: list[tuple[Cell, ...]] = [_line(row) for row in rows]
    before, after = totals(rows)
    if after:
        speed_up = round(before / after, 3)
        tried, ways = sum(r.tried for r in rows), sum(len(r.task.ways) for r in rows)
        both = (round(before), round(after))
        lines.append(("all, an inference", "", tried, ways, *both, speed_up, "", ""))
    note = COUNTED if objective == INSTRUCTIONS else ESTIMATED
    if board:
        note = f"Cycles are those that {board} measured itself."
    return Table(f"Tuning, {objective} of a call", columns, tuple(lines), note)


def totals(rows: Sequence[Tuned]) -> tuple[float, float]:
    """What the kernels cost in one inference, by default and tuned."""
    known = [row for row in rows if row.default is not None and row.best is not None]
    before = sum(row.task.calls * (row.default or 0) for row in known)
    return before, sum(row.task.calls * (row.best or 0) for row in known)


def tuning_sections(
    rows: Sequence[Tuned], about: str, objective: str = INSTRUCTIONS, board: str = ""
) -> tuple[Section, ...]:
    """What ``tune --report`` shows: the table, and how costs fell."""
    costly = sorted(rows, key=lambda row: -row.task.calls * (row.default or 0))
    curves = {
        row.task.name: tuple((tried, best / row.default) for tried, best in row.curve)
        for row in costly[: len(SERIES)]
        if row.default and len(row.curve) > 1
    }
    chart = Lines("Best cost over the default's, by candidates tried", curves)
    table = tuning_table(rows, objective, board)
    return (Section("Tuning", about, (table,), (chart,) if curves else ()),)


def _line(row: Tuned) -> tuple[Cell, ...]:
    task = row.task
    failed = ", ".join(f"{count} {kind}" for kind, count in sorted(row.failures.items()))
    way = NOTHING if row.way is None else f"{row.way.rule} {_words(row.way.choices)}".strip()
    return (
        task.name,
        task.calls,
        row.tried,
        len(task.ways),
        NOTHING if row.default is None else round(row.default),
        NOTHING if row.best is None else round(row.best),
        NOTHING if row.speed_up is None else round(row.speed_up, 3),
        failed,
        way,
    )


def _words(choices: Mapping[str, int | str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in choices.items())
