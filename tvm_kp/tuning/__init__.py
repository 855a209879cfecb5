"""Autotuning: the firmware itself is the measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm_kp import board, tuning_records
from tvm_kp.errors import InputError, TargetError
from tvm_kp.lowering import Options, Progress, Stages, lower, pass_context
from tvm_kp.target import Target
from tvm_kp.tuning.boards import TrackedBoards
from tvm_kp.tuning.search import SEARCHES
from tvm_kp.tuning.session import Session, Settings, Told
from tvm_kp.tuning.tasks import Task, tasks_of

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
    target = _emulated(target)
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
    told: Told = lambda _: None,
) -> Session:
    """Measure ways to schedule kernels on ``target``, and append records to a file.

    Records that are there already, and those of ``start_from``, are not measured again. ``tuner``
    is one of ``SEARCHES``; ``told`` is called after every batch. With ``tracker``, "host:port" of
    TVM's RPC tracker, all of its boards with ``key`` are used. Raises ``InputError``,
    ``TargetError``, ``OutputError``, ``RunError`` or ``MissingToolError``.
    """
    target, path = _emulated(target), Path(records)
    if tuner not in SEARCHES:
        raise InputError(f"tuner is {tuner!r}; there are {', '.join(SEARCHES)}")
    board.find_compiler(target)
    known = [] if start_from is None else [*tuning_records.read(Path(start_from)).records]
    if path.exists():
        tuning_records.repair(path)
        known += tuning_records.read(path).records
    boards = None if tracker is None else TrackedBoards(target, tracker, key)
    session = Session(chosen, target, path, SEARCHES[tuner], settings or Settings(), told, boards)
    session.run(known)
    return session


def _emulated(target: str | Target) -> Target:
    target = Target.load(target) if isinstance(target, str) else target
    if target.runner.kind != "qemu":
        raise TargetError(f"{target.name} counts no instructions; tune for an emulated board")
    return target
