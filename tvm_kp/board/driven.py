"""Running a host-driven project as batches are run: through a session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tvm_kp.artifacts import OperatorCount, RunResult
from tvm_kp.board import emulator
from tvm_kp.board.session import Session

if TYPE_CHECKING:
    from tvm_kp.board.project import Project


def run(
    project: Project,
    records: Mapping[str, np.ndarray],
    profile: bool,
    timeout_s: float,
    port: str | None = None,
) -> RunResult:
    """Run the project on every record, (N, *shape) each, as the runners of batches do.

    ``port`` is that of an attached board, which with ``profile`` has a firmware with hooks.
    """
    with Session(project, timeout_s=timeout_s, transport=port) as session:
        unit = session.unit
        counts, steps = [], []
        for inputs in _inferences(records):
            for name, array in inputs.items():
                session.set_input(name, array)
            counts.append(session.run())
            steps.append(session.outputs())
    operators: tuple[OperatorCount, ...] = ()
    if profile and unit != "nanoseconds" and project.model.operators:
        operators = _operators(project, records, timeout_s, port)
    return RunResult(
        outputs={t.name: np.stack([step[t.name] for step in steps]) for t in project.model.outputs},
        instructions=tuple(counts) if unit == "instructions" else (),
        cycles=tuple(counts) if unit == "cycles" else (),
        seconds=tuple(count * 1e-9 for count in counts) if unit == "nanoseconds" else (),
        operators=operators,
    )


def _operators(
    project: Project, records: Mapping[str, np.ndarray], timeout_s: float, port: str | None
) -> tuple[OperatorCount, ...]:
    """Each operator's median over the inferences, of a build with hooks."""
    profiles = []
    with Session(project, profile=True, timeout_s=timeout_s, transport=port) as session:
        for inputs in _inferences(records):
            for name, array in inputs.items():
                session.set_input(name, array)
            session.run()
            profiles.append(session.profile())
    calls, counts = (
        np.array([[getattr(count, key) for count in counts] for counts in profiles])
        for key in ("calls", "count")
    )
    return emulator.medians(project.model, calls, counts)


def _inferences(records: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    for values in zip(*records.values(), strict=True):
        yield dict(zip(records, values, strict=True))
