"""Autotuning: the firmware itself is the measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm_kp import board, tuning_records
from tvm_kp.errors import InputError
from tvm_kp.lowering import Options, Progress, Stages, lower, pass_context
from tvm_kp.target import Target, at_port, check_counts, is_attached
from tvm_kp.tuning.boards import TrackedBoards
from tvm_kp.tuning.search import SEARCHES
from tvm_kp.tuning.session import Session, Settings, Told
from tvm_kp.tuning.tasks import Task, tasks_of
from tvm_kp.tuning_records import Record

__all__ = ["SEARCHES", "Session", "Settings", "Task", "tasks", "tune", "tune_tasks"]


def tune(
    source: Any,
    target: str | Target,
    records: str | Path,
    *,
    example_inputs: Sequence[Any] | None = None,
    options: Options | None = None,
    **how: Any,
) -> Session:
    """Find faster schedules for the kernels of a model, and append what is measured to a file.

    ``source``, ``target``, ``example_inputs`` and ``options`` are those of ``compile``, ``how``
    is what ``tune_tasks`` takes. Give the file to ``compile`` as ``Options.tuning_records``.
    """
    found = tasks(source, target, example_inputs=example_inputs, options=options)
    return tune_tasks(found, target, records, **how)


def tasks(
    source: Any,
    target: str | Target,
    *,
    example_inputs: Sequence[Any] | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> list[Task]:
    """The distinct kernels of a model, as ``compile`` would call them; see there for arguments."""
    options = options or Options()
    target = _board(target)
    with pass_context(options):
        lowered = lower(source, target, example_inputs, options, Stages(progress))
        return tasks_of(lowered, target, options)


def tune_tasks(
    chosen: Sequence[Task],
    target: str | Target,
    records: str | Path,
    *,
    tuner: str = "xgb",
    start_from: str | Path | None = None,
    settings: Settings | None = None,
    tracker: str | None = None,
    key: str = "",
    port: str | None = None,
    told: Told = lambda _: None,
) -> Session:
    """Measure ways to schedule kernels on ``target``, and append records to a file.

    Records that are there already, and those of ``start_from``, which are copied there, are not
    measured again. ``tuner`` is one of ``SEARCHES``; ``told`` is called after every batch. With
    ``tracker``, "host:port" of TVM's RPC tracker, all of its boards with ``key`` are used. A board
    that is attached, at the serial ``port`` (default: what its description says), is flashed once a
    batch. Raises
    ``InputError``, ``TargetError``, ``OutputError``, ``RunError`` or ``MissingToolError``.
    """
    target, path = at_port(_board(target), port), Path(records)
    if tuner not in SEARCHES:
        raise InputError(f"tuner is {tuner!r}; there are {', '.join(SEARCHES)}")
    board.find_compiler(target)
    known = _known(path, None if start_from is None else Path(start_from))
    settings = settings or Settings()
    objective = tuning_records.objective_of(target, settings.objective)
    cycles = objective == tuning_records.CYCLES
    if cycles and not is_attached(target):
        board.check_cycles(target)
    boards = None if tracker is None else TrackedBoards(target, tracker, key, cycles)
    session = Session(chosen, target, path, SEARCHES[tuner], settings, told, boards)
    session.run(known)
    return session


def _known(path: Path, start_from: Path | None) -> list[Record]:
    """The records in ``path``, with those of ``start_from`` that it lacked."""
    others = () if start_from is None else tuning_records.read(start_from).records
    if path.exists():
        tuning_records.repair(path)
    known = list(tuning_records.read(path).records) if path.exists() else []
    there = {(r.core, r.board, r.objective, r.tvm, r.way) for r in known}
    new = [r for r in others if (r.core, r.board, r.objective, r.tvm, r.way) not in there]
    if new:
        tuning_records.append(path, new)
    return known + new


def _board(target: str | Target) -> Target:
    target = Target.load(target) if isinstance(target, str) else target
    check_counts(target, "tune for a board")
    return target
