"""What the pages of ``compile --report`` and ``run --report`` show."""

from __future__ import annotations

from pathlib import Path

from tvm_kp.artifacts import Model, RunResult
from tvm_kp.report.charts import drift_lines, operator_bars, size_bars
from tvm_kp.report.memory import (
    Places,
    code_bars,
    code_table,
    footprint_table,
    memory_shares,
    memory_table,
    part_bars,
    parts,
)
from tvm_kp.report.page import Section
from tvm_kp.report.table import Table
from tvm_kp.report.tables import (
    decision_table,
    error_table,
    profile_table,
    quantization_tables,
    recurrence_table,
    tensor_table,
    time_table,
)
from tvm_kp.report.values import CompiledValues

UNKNOWN = (
    "The model computes in float, and nothing was measured: --calibration X.npz measures what "
    "approximate weights, or integers, change."
)


def compile_sections(
    compiled: CompiledValues, archive: Path, places: Places | None = None
) -> tuple[Section, ...]:
    """Decisions, memory, operators, accuracy and stages of a model that was saved as ``archive``.

    ``places`` are where constants and pools lie on a board; left out they lie in flash and ram.
    """
    model, loops = compiled.model, recurrence_table(compiled.recurrences)
    tables = (decision_table(model.decisions), *((loops,) if loops.rows else ()))
    about = f"Model {model.name}, compiled for {model.target}."
    stages = tuple((stage, round(seconds, 2)) for stage, seconds in compiled.stages.items())
    return (
        Section("Decisions", about, tables),
        _memory(compiled, places or Places()),
        _code(compiled, archive),
        _accuracy(compiled),
        Section("Stages", "", (Table("", ("stage", "seconds"), stages),)),
    )


def run_sections(
    model: Model, target: str, result: RunResult, differences: Table | None = None
) -> tuple[Section, ...]:
    """What a run of ``model`` on ``target`` cost, and what it was compared with."""
    about = f"Model {model.name}, compiled for {model.target}, run on {target}."
    tables = (time_table(target, result), tensor_table(model))
    operators = Section("Operators", "--profile counts their instructions on an emulated board.")
    if result.operators:
        bars = operator_bars({model.name: result})
        operators = Section("Operators", "", (profile_table(target, result),), (bars,))
    sections = [Section("Execution", about, tables), operators]
    if differences is not None:
        sections.append(Section("Comparison", "", (differences,)))
    # A project folder does not know them.
    if model.decisions:
        sections.append(Section("Decisions", "", (decision_table(model.decisions),)))
    return tuple(sections)


def _memory(compiled: CompiledValues, places: Places) -> Section:
    model, footprint, memories = compiled.model, compiled.footprint, compiled.target.memories
    sizes = footprint_table(model, footprint)
    if not memories:
        return Section("Memory", "", (sizes,), (size_bars({model.name: footprint}),))
    found = parts(model, footprint, places)
    table = memory_table(found, memories, sizes.note)
    charts = (memory_shares(found, memories), part_bars(model, found))
    return Section("Memory", "The model without firmware around it.", (table,), charts)


def _code(compiled: CompiledValues, archive: Path) -> Section:
    model, footprint, target = compiled.model, compiled.footprint, compiled.target
    board = " --target BOARD" if target.runner.kind == "host" else ""
    text = (
        "An emulated board counts the instructions of each: "
        f"tvm-kp run {archive}{board} --profile --report run.html"
    )
    table, bars = code_table(model, footprint), code_bars(model, footprint)
    return Section("Operators", text, (table,), (bars,))


def _accuracy(compiled: CompiledValues) -> Section:
    errors, quantized = error_table(compiled.output_errors), compiled.quantized
    measured = (errors,) if errors.rows else ()
    if quantized is None:
        return Section("Accuracy", "" if measured else UNKNOWN, measured)
    drift = drift_lines(quantized)
    tables = (*quantization_tables(quantized), *measured)
    return Section("Accuracy", "", tables, (drift,) if drift else ())
