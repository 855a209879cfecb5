"""The tables that the commands print."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median, pstdev
from typing import Protocol

from tvm_kp.artifacts import (
    Decision,
    Model,
    OutputError,
    Quantized,
    QuantizedTensor,
    Recurrence,
    RunResult,
)
from tvm_kp.quantizations import RANDOM
from tvm_kp.report.table import Cell, Table

COUNTED = "Counted exactly by the emulator; instructions are not cycles."
NOTHING = "–"
SMALL_ENOUGH = "The model is small enough as it is: nothing is compressed."
SATURATING = 0.01  # the share of values from which on a tensor is worth a warning


class PlanRow(Protocol):
    """What a report reads of a line of the compressor's plan."""

    @property
    def site(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def rank(self) -> int: ...
    @property
    def parameters(self) -> int: ...
    @property
    def compression(self) -> float: ...
    @property
    def macs(self) -> int: ...
    @property
    def dense_macs(self) -> int: ...


def plan_table(rows: Sequence[PlanRow], errors: Sequence[float] | None = None) -> Table:
    """What layers are to be, with the relative errors of their weights if given."""
    columns = ("layer", "structure", "rank", "parameters", "compression", "MACs", "dense MACs")
    lines = tuple(
        (r.site, r.form, r.rank, r.parameters, r.compression, r.macs, r.dense_macs) for r in rows
    )
    note = "MACs of one time step, or of one call of a linear layer." if rows else SMALL_ENOUGH
    if errors is None:
        return Table("Plan", columns, lines, note)
    measured = tuple((*line, error) for line, error in zip(lines, errors, strict=True))
    return Table("Plan", (*columns, "error"), measured, note)


def decision_table(decisions: Sequence[Decision]) -> Table:
    """What was found in every dense operator, and what was done with it."""
    columns = (
        "operator",
        "W",
        "structure",
        "factors, or why none",
        "error",
        "MACs",
        "bytes, float32",
    )
    rows = tuple(_decision_row(decision) for decision in decisions)
    note = "" if rows else "No operator with a dense constant weight."
    return Table("Weights", columns, rows, note)


def recurrence_table(recurrences: Sequence[Recurrence]) -> Table:
    """The loops over time that PyTorch had unrolled, and which of them are loops again."""
    rows = tuple(
        (one.name, one.steps, one.operators, one.reason or "a loop again") for one in recurrences
    )
    return Table("Unrolled loops", ("at", "steps", "operators a step", "result"), rows)


def error_table(errors: Sequence[OutputError]) -> Table:
    """What approximate weights change of the outputs."""
    rows = tuple((one.name, f"{one.largest:.1e}", f"{one.relative:.1e}") for one in errors)
    columns = ("output", "largest difference", "relative error")
    note = "To the same C with the weights as they are, on the calibration inputs."
    return Table("Errors of approximate weights", columns, rows, note)


def factors(decision: Decision) -> str:
    """``4 × (2×16) ⊗ (59×8)``: the factors and how many row blocks have them.

    After it what they are not alone with: more terms, dense rows above, single entries.
    """
    times = " · " if decision.rank else " ⊗ "
    text = times.join(f"({rows}×{columns})" for rows, columns in decision.factors)
    text = f"{decision.blocks} × {text}" if decision.blocks > 1 else text
    also = {
        f"{decision.terms} terms": decision.terms > 1,
        f"below {decision.split_row} dense rows": decision.split_row,
        f"and {decision.nonzeros} entries": decision.nonzeros,
    }
    return ", ".join([text, *(words for words, is_so in also.items() if is_so)])


def _decision_row(decision: Decision) -> tuple[Cell, ...]:
    rows, columns = decision.shape
    return (
        f"{decision.function}.{decision.operator}",
        f"{rows}×{columns}",
        decision.structure,
        factors(decision) if decision.factors else decision.reason,
        f"{decision.error:.1e}" if decision.factors else NOTHING,
        _change(decision.macs_before, decision.macs_after),
        _change(decision.bytes_before, decision.bytes_after),
    )


def _change(before: int, after: int) -> str:
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"


def quantization_tables(quantized: Quantized) -> tuple[Table, ...]:
    """How every stored tensor was quantized, and how the errors of states grow."""
    rows = tuple(
        (
            tensor.name,
            f"{tensor.low:.3g} … {tensor.high:.3g}",
            f"{tensor.scale:.3g}",
            tensor.bits,
            f"{tensor.saturated:.2%}",
            f"{tensor.snr_db:.1f}",
        )
        for tensor in quantized.tensors
    )
    columns = ("tensor", "range", "scale", "bits", "saturated", "signal to noise, dB")
    what = f"{quantized.records} calibration inputs"
    note = f"On {what}, compared with the float model."
    if quantized.calibration == RANDOM:
        note = f"On {what} MADE UP AT RANDOM: ranges and errors say nothing of real data."
    if quantized.accuracies is not None:
        before, after = quantized.accuracies
        note += f" Accuracy: {before:.2%} in float, {after:.2%} in integers."
    tensors = Table(f"Quantized to {quantized.format}", columns, rows, note)
    return (tensors, _drift_table(quantized)) if _drifts(quantized) else (tensors,)


def warnings(quantized: Quantized) -> tuple[str, ...]:
    """What a user should know of tensors that saturate."""
    return tuple(
        f"{tensor.saturated:.1%} of the values of {tensor.name} saturate on the calibration "
        "inputs; calibrate with more of them, or with --calibration-range min-max"
        for tensor in quantized.tensors
        if tensor.saturated > SATURATING and not tensor.harmless
    )


def _drifts(quantized: Quantized) -> tuple[QuantizedTensor, ...]:
    return tuple(tensor for tensor in quantized.tensors if len(tensor.drift) > 1)


def _drift_table(quantized: Quantized) -> Table:
    """The relative errors of states at some of the time steps, first and last among them."""
    rows = tuple(
        (tensor.name, step + 1, f"{tensor.drift[step]:.1e}")
        for tensor in _drifts(quantized)
        for step in sorted({round(k * (len(tensor.drift) - 1) / 4) for k in range(5)})
    )
    return Table("Errors of states over time", ("state", "time step", "relative error"), rows)


def tensor_table(model: Model) -> Table:
    """Inputs and outputs; integers stand for themselves times the scale."""
    rows = tuple(
        (
            tensor.name,
            use,
            "×".join(map(str, tensor.shape)) or "scalar",
            tensor.dtype,
            NOTHING if tensor.scale is None else tensor.scale,
            tensor.nbytes,
        )
        for use, tensors in (("input", model.inputs), ("output", model.outputs))
        for tensor in tensors
    )
    columns = ("tensor", "use", "shape", "type", "scale", "bytes")
    return Table("Inputs and outputs", columns, rows)


def time_table(target: str, result: RunResult) -> Table:
    """The statistics of all inferences: what a board counted, milliseconds of the host."""
    rows: list[tuple[Cell, ...]] = []
    if result.counts:
        rows.append((result.unit, *_statistics(result.counts)))
    if result.seconds:
        rows.append(("milliseconds", *_statistics([1000 * s for s in result.seconds])))
    columns = ("per inference", "inferences", "median", "mean", "min", "max", "deviation")
    note = COUNTED if result.instructions else ""
    return Table(f"Execution on {target}", columns, tuple(rows), note)


def profile_table(target: str, result: RunResult) -> Table:
    """What every operator took of one inference, the largest first."""
    whole = median(result.counts) if result.counts else 0
    ordered = sorted(result.operators, key=lambda one: -one.count)
    rows = tuple(
        (c.name, c.calls, c.count, f"{c.count / whole:.1%}" if whole else NOTHING) for c in ordered
    )
    note = f"{target} counts no instructions: profile on an emulated board."
    if rows:
        note = COUNTED if result.instructions else ""
    columns = ("operator", "calls", result.unit, "share")
    return Table(f"Operators on {target}, one inference", columns, rows, note)


def _statistics(values: Sequence[float]) -> tuple[Cell, ...]:
    whole = all(isinstance(value, int) for value in values)
    figures = (median(values), fmean(values), min(values), max(values), pstdev(values))
    return (len(values), *(round(f) if whole else float(f) for f in figures))
