"""Decisions, sizes and counts as tables for a console, JSON for scripts and an HTML page."""

from tvm_kp.report.charts import Bars, Lines, operator_bars, size_bars, total_bars
from tvm_kp.report.memory import Places, footprint_table
from tvm_kp.report.page import Section, html
from tvm_kp.report.sections import compile_sections, run_sections
from tvm_kp.report.table import Table
from tvm_kp.report.tables import (
    COUNTED,
    decision_table,
    error_table,
    plan_table,
    profile_table,
    quantization_tables,
    recurrence_table,
    time_table,
    warnings,
)
from tvm_kp.report.tuning import task_table, totals, tuning_sections, tuning_table
from tvm_kp.report.values import compile_json, run_json

__all__ = [
    "COUNTED",
    "Bars",
    "Lines",
    "Places",
    "Section",
    "Table",
    "compile_json",
    "compile_sections",
    "decision_table",
    "error_table",
    "footprint_table",
    "html",
    "operator_bars",
    "plan_table",
    "profile_table",
    "quantization_tables",
    "recurrence_table",
    "run_json",
    "run_sections",
    "size_bars",
    "task_table",
    "time_table",
    "total_bars",
    "totals",
    "tuning_sections",
    "tuning_table",
    "warnings",
]
