"""Autotuning: the firmware itself is the measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm_kp import board, tuning_records
from tvm_kp.errors import InputError, TargetError
from tvm_kp.lowering import Options, Progress, Stages, lower, pass_context
from tvm_kp.target import Target
from tvm_kp.tuning.search import SEARCHES
from tvm_kp.tuning.session import Session, Settings, Told
from tvm_kp.tuning.tasks import Task, tasks_of

__all__ = ["SEARCHES", "Session", "Settings", "Task", "tasks", "tune"]


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


def tune(
    chosen: Sequence[Task],
    target: str | Target,
    records: str | Path,
    *,
    tuner: str = "xgb",
    start_from: str | Path | None = None,
    settings: Settings | None = None,
    told: Told = lambda _: None,
) -> Session:
    """Measure ways to schedule kernels on ``target``, and append records to a file.

    Records that are there already, and those of ``start_from``, are not measured again. ``tuner``
    is one of ``SEARCHES``; ``told`` is called after every batch. Raises ``InputError``,
    ``TargetError``, ``OutputError`` or ``MissingToolError``.
    """
    target, path = _emulated(target), Path(records)
    if tuner not in SEARCHES:
        raise InputError(f"tuner is {tuner!r}; there are {', '.join(SEARCHES)}")
    board.find_compiler(target)
    known = [] if start_from is None else [*tuning_records.read(Path(start_from)).records]
    if path.exists():
        tuning_records.repair(path)
        known += tuning_records.read(path).records
    session = Session(chosen, target, path, SEARCHES[tuner], settings or Settings(), told)
    session.run(known)
    return session


def _emulated(target: str | Target) -> Target:
    target = Target.load(target) if isinstance(target, str) else target
    if target.runner.kind != "qemu":
        raise TargetError(f"{target.name} counts no instructions; tune for an emulated board")
    return target
