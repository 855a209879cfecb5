"""One HTML file that needs no other: styles and charts inside, light, dark and on paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import count

from tvm_kp.report.charts import Chart, svg
from tvm_kp.report.table import Table

# Paper is light whatever the screen is. Charts keep a readable size: narrow screens scroll them.
STYLE = """
:root { color-scheme: light; --paper: #ffffff; --ink: #1f2328; --faint: #59636e;
  --line: #d0d7de; --series-0: #818b98; --series-1: #0969da; --series-2: #bc4c00;
  --series-3: #1a7f37; --series-4: #8250df; --series-5: #bf3989; }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --paper: #0d1117; --ink: #e6edf3; --faint: #8d96a0;
    --line: #30363d; --series-0: #7d8590; --series-1: #4493f8; --series-2: #f0883e;
    --series-3: #3fb950; --series-4: #ab7df8; --series-5: #db61a2; }
}
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem; }
h3, figcaption { margin: 1.5rem 0 .3rem; font-size: 1rem; font-weight: 600; }
a { color: var(--series-1); }
h2 a { color: inherit; text-decoration: none; }
h2 a:hover { text-decoration: underline; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; padding: 0; list-style: none; }
figure { margin: 1.5rem 0; }
.wide { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 34rem; max-width: 48rem; height: auto; }
svg text { font-family: system-ui, sans-serif !important; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: normal; }
td { white-space: nowrap; }
.long { min-width: 10rem; white-space: normal; overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; }
.note { color: var(--faint); margin-top: .3rem; }
@media print {
  body { margin: 0; max-width: none; font-size: 10pt; }
  nav { display: none; }
  h2, h3, figcaption { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  .wide { overflow: visible; }
  table { font-size: 8pt; }
  th, td { padding: .2rem .4rem; }
  td { white-space: normal; }
  .long { min-width: 6rem; }
  svg { min-width: 0; }
}
""".strip()
CONTENTS_FROM = 4  # sections; fewer are seen at once


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph of plain text, tables and charts below it."""

    title: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()


def html(sections: Sequence[Section], title: str = "tvm_kp report") -> str:
    """A whole page; the same sections give the same bytes."""
    charts = count()
    anchors = [_anchor(number, section.title) for number, section in enumerate(sections, 1)]
    parts = [f"<h1>{escape(title)}</h1>"]
    if len(sections) >= CONTENTS_FROM:
        parts.append(_contents(sections, anchors))
    parts += [_section(*one, charts) for one in zip(sections, anchors, strict=True)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _anchor(number: int, title: str) -> str:
    return f"{number}-{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}"


def _contents(sections: Sequence[Section], anchors: Sequence[str]) -> str:
    links = "\n".join(
        f'<li><a href="#{anchor}">{escape(section.title)}</a></li>'
        for section, anchor in zip(sections, anchors, strict=True)
    )
    return f'<nav aria-label="Contents"><ul>\n{links}\n</ul></nav>'


def _section(section: Section, anchor: str, charts: count[int]) -> str:
    parts = [f'<h2><a href="#{anchor}">{escape(section.title)}</a></h2>']
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    parts += [table.to_html() for table in section.tables]
    for chart in section.charts:
        caption = f"<figcaption>{escape(chart.title)}</figcaption>"
        drawn = svg(chart, f"chart{next(charts)}")
        parts.append(f"<figure>{caption}\n<div class=wide tabindex=0>{drawn}</div>\n</figure>")
    return f'<section id="{anchor}">\n' + "\n".join(parts) + "\n</section>"
