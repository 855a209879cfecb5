"""The printed numbers as JSON values for scripts; the keys are stable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import median
from typing import Any, Protocol

from tvm_kp.artifacts import Footprint, Model, OutputError, Quantized, Recurrence, RunResult
from tvm_kp.target import Target


class CompiledValues(Protocol):
    """What a report reads of the driver's result."""

    @property
    def model(self) -> Model: ...
    @property
    def target(self) -> Target: ...
    @property
    def footprint(self) -> Footprint: ...
    @property
    def stages(self) -> Mapping[str, float]: ...
    @property
    def recurrences(self) -> tuple[Recurrence, ...]: ...
    @property
    def output_errors(self) -> tuple[OutputError, ...]: ...
    @property
    def quantized(self) -> Quantized | None: ...


def compile_json(compiled: CompiledValues) -> dict[str, Any]:
    """Decisions, bytes, and the seconds of every stage.

    Keys: model, target, decisions (operator, function, shape, structure, blocks, factors, order,
    error, terms, rank, split_row, nonzeros, macs_before, macs_after, bytes_before, bytes_after,
    reason), flash_bytes, ram_bytes, stack_bytes, code_bytes, tables_bytes, weights_bytes,
    workspace_bytes, workspace (planner, peak_bytes, bound_bytes: no plan in one piece needs less,
    pools: their bytes by name, io: whether inputs and outputs lie in it), stages, recurrences
    (loops that PyTorch had unrolled: name, steps, operators, reason, which is empty where it is a
    loop again), output_errors (of approximate weights on
    calibration inputs: name, largest, relative), quantized (null for floats; format, calibration,
    records, accuracies, tensors: name, low, high, scale, bits, saturated, harmless, snr_db, drift).
    """
    model, footprint = compiled.model, compiled.footprint
    return {
        "model": model.name,
        "target": model.target,
        "decisions": [asdict(decision) for decision in model.decisions],
        "flash_bytes": footprint.flash_bytes,
        "ram_bytes": footprint.ram_bytes,
        "stack_bytes": footprint.stack_bytes,
        "code_bytes": footprint.code_bytes,
        "tables_bytes": footprint.tables_bytes,
        "weights_bytes": footprint.weights_bytes,
        "workspace_bytes": model.workspace_bytes,
        "workspace": {
            "planner": model.planner,
            "peak_bytes": model.workspace_bytes,
            "bound_bytes": model.workspace_bound,
            "pools": {pool.name: pool.nbytes for pool in model.pools},
            "io": model.workspace_io,
        },
        "stages": dict(compiled.stages),
        "recurrences": [asdict(recurrence) for recurrence in compiled.recurrences],
        "output_errors": [asdict(error) for error in compiled.output_errors],
        "quantized": None if compiled.quantized is None else asdict(compiled.quantized),
    }


def run_json(target: str, result: RunResult) -> dict[str, Any]:
    """Medians per inference, and what every operator took.

    Keys: target, inferences, instructions, cycles and seconds (null where not measured), operators
    (name, calls, and instructions or cycles).
    """
    return {
        "target": target,
        "inferences": max(len(result.counts), len(result.seconds)),
        "instructions": _median(result.instructions),
        "cycles": _median(result.cycles),
        "seconds": _median(result.seconds),
        "operators": [
            {"name": one.name, "calls": one.calls, result.unit: one.count}
            for one in result.operators
        ],
    }


def _median(values: tuple[int, ...] | tuple[float, ...]) -> float | None:
    return median(values) if values else None
