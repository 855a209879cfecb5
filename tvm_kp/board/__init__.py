"""The metal side: projects, toolchains, and running a model on a board or on the host."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tvm_kp import scratch
from tvm_kp.artifacts import Model, RunResult
from tvm_kp.board.comparison import (
    TOLERANCE,
    CallDifference,
    beyond,
    comparable,
    differences,
    first_difference,
    magnitude,
)
from tvm_kp.board.cycles import check as check_cycles
from tvm_kp.board.operator_outputs import CallOutput, trace_operators
from tvm_kp.board.project import Project, build, create, flash
from tvm_kp.board.records import as_records
from tvm_kp.board.session import Session, StackUse
from tvm_kp.board.toolchain import check_fit, footprint
from tvm_kp.board.toolchain import find as find_compiler
from tvm_kp.board.trial_calls import Trial, TrialResult, TrialRun
from tvm_kp.board.trials import compile_trial, run_trials
from tvm_kp.target import Target

__all__ = [
    "TOLERANCE",
    "CallDifference",
    "CallOutput",
    "Project",
    "Session",
    "StackUse",
    "Trial",
    "TrialResult",
    "TrialRun",
    "as_records",
    "beyond",
    "build",
    "check_cycles",
    "check_fit",
    "comparable",
    "compile_trial",
    "create",
    "differences",
    "find_compiler",
    "first_difference",
    "flash",
    "footprint",
    "magnitude",
    "run",
    "run_trials",
    "trace_operators",
]


def run(
    model: Model,
    target: Target,
    inputs: Mapping[str, np.ndarray],
    *,
    repeat: int = 1,
    profile: bool = False,
    timeout_s: float | None = None,
) -> RunResult:
    """Build ``model`` for ``target`` in a temporary project and run it on every inference.

    ``inputs`` is what `as_records` takes, run ``repeat`` times; see `Project.run`. With
    ``profile`` the operators are counted one by one, on a build of their own. ``timeout_s``
    (default: the target's) bounds each run of an emulator.

    Raises InputError, MissingToolError, BuildError, FitError, RunError.
    """
    with scratch.folder() as folder:
        project = create(model, target, folder / "project")
        return project.run(inputs, repeat=repeat, profile=profile, timeout_s=timeout_s)
