"""One HTML file that needs no other: styles and charts inside, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import count

from tvm_kp.report.charts import Bars, Lines, size_bars, svg
from tvm_kp.report.table import Table
from tvm_kp.report.tables import (
    decision_table,
    error_table,
    footprint_table,
    quantization_tables,
    recurrence_table,
)
from tvm_kp.report.values import CompiledValues

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2328; --faint: #656d76;
  --line: #d0d7de; --series-0: #8c959f; --series-1: #0969da; --series-2: #bc4c00;
  --series-3: #1a7f37; --series-4: #8250df; --series-5: #bf3989; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0d1117; --ink: #e6edf3; --faint: #8d96a0; --line: #30363d;
    --series-0: #7d8590; --series-1: #4493f8; --series-2: #f0883e; --series-3: #3fb950;
    --series-4: #ab7df8; --series-5: #db61a2; }
}
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.25; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem; }
h3, figcaption { margin: 1.5rem 0 .3rem; font-size: 1rem; font-weight: 600; }
figure { margin: 1.5rem 0; }
svg { max-width: 100%; height: auto; }
svg text { font-family: system-ui, sans-serif !important; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
td { white-space: nowrap; }
td:last-child { white-space: normal; }
.number { text-align: right; white-space: nowrap; }
.note { color: var(--faint); margin-top: .3rem; }
""".strip()


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph of plain text, tables and charts below it."""

    title: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    charts: tuple[Bars | Lines, ...] = ()


def html(sections: Sequence[Section], title: str = "tvm_kp report") -> str:
    """A whole page; the same sections give the same bytes."""
    ids = count()
    body = "\n".join(_section(section, ids) for section in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def compile_sections(compiled: CompiledValues) -> tuple[Section, ...]:
    """What ``compile --report`` shows: decisions, sizes, stages."""
    model, footprint = compiled.model, compiled.footprint
    stages = tuple((stage, f"{seconds:.2f}") for stage, seconds in compiled.stages.items())
    about = f"Model {model.name}, compiled for {model.target}."
    sizes, loops = footprint_table(model, footprint), recurrence_table(compiled.recurrences)
    errors = error_table(compiled.output_errors)
    integers = () if compiled.quantized is None else quantization_tables(compiled.quantized)
    found = (decision_table(model.decisions), *(table for table in (loops, errors) if table.rows))
    return (
        Section("Decisions", about, found),
        *([Section("Integers", "", integers)] if integers else []),
        Section("Sizes", "", (sizes,), (size_bars({model.name: footprint}),)),
        Section("Stages", "", (Table("", ("stage", "seconds"), stages),)),
    )


def _section(section: Section, ids: count[int]) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    parts += [table.to_html() for table in section.tables]
    for chart in section.charts:
        caption = f"<figcaption>{escape(chart.title)}</figcaption>"
        parts.append(f"<figure>{caption}\n{svg(chart, f'chart{next(ids)}')}\n</figure>")
    return "<section>\n" + "\n".join(parts) + "\n</section>"
