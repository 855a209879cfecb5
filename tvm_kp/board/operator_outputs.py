"""What every operator of a model gives, call by call: a build with the hooks of a trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tvm_kp import scratch
from tvm_kp.artifacts import Model
from tvm_kp.board import emulator, host
from tvm_kp.board.layout import BATCH
from tvm_kp.board.project import build, create
from tvm_kp.board.records import as_records
from tvm_kp.target import Target

TRACERS = {"host": host.trace, "qemu": emulator.trace}


@dataclass(frozen=True, eq=False)
class CallOutput:
    """One output of one call of ``operator``, the ``output``-th from 0; ``values`` are flat."""

    operator: str
    output: int
    values: np.ndarray

    @property
    def key(self) -> tuple[str, int, int]:
        """The same for all outputs that can be compared: operator, output and bytes."""
        return self.operator, self.output, self.values.nbytes


def trace_operators(
    model: Model,
    target: Target,
    inputs: Mapping[str, np.ndarray],
    timeout_s: float | None = None,
) -> list[CallOutput]:
    """Every output of every call of an operator, in order, over all inferences.

    ``inputs`` is what `as_records` takes. The model is built in a temporary batch project;
    ``timeout_s`` bounds its run (default: the target's).

    Raises InputError, MissingToolError, BuildError, FitError, RunError, and TargetError for an
    attached board.
    """
    records = as_records(model.inputs, inputs)
    timeout_s = timeout_s or target.runner.timeout_s
    with scratch.folder() as folder:
        project = create(model, target, folder / "project", kind=BATCH)
        image = build(project, trace=True)
        seen = TRACERS[target.runner.kind](image, model, target, records, timeout_s)
        return [_call_output(model, *one) for one in seen]


def _call_output(model: Model, operator: int, output: int, data: bytes) -> CallOutput:
    known = model.operators[operator]
    dtype = np.dtype(known.output_dtypes[output]).newbyteorder("<")
    return CallOutput(known.name, output, np.frombuffer(data, dtype))
