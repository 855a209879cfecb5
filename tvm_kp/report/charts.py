"""Charts as SVG whose colors are CSS variables, so that a page decides on light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median
from typing import TYPE_CHECKING, Any

from tvm_kp.artifacts import Footprint, RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# matplotlib wants colors, the page has variables: these stand for them until the SVG is written.
INK = "#010101"
SERIES = ("#020001", "#020002", "#020003", "#020004", "#020005", "#020006")
VARIABLES = {INK: "var(--ink)"} | {c: f"var(--series-{i})" for i, c in enumerate(SERIES)}
MOST_BARS = 12
WIDTH_INCHES = 8.0
BAR_INCHES = 0.24
LINES_INCHES = 3.2


@dataclass(frozen=True)
class Bars:
    """Groups of bars: ``series`` maps a model to its value for every one of ``groups``.

    None is "it has no such thing", and no bar.
    """

    title: str
    groups: tuple[str, ...]
    series: Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True)
class Lines:
    """A line for each of ``series``: pairs of x and y."""

    title: str
    series: Mapping[str, Sequence[tuple[float, float]]]


def size_bars(footprints: Mapping[str, Footprint]) -> Bars:
    """Flash and RAM in bytes, models side by side."""
    series = {name: (f.flash_bytes, f.ram_bytes) for name, f in footprints.items()}
    return Bars("Flash and RAM, bytes", ("flash", "RAM"), series)


def total_bars(results: Mapping[str, RunResult]) -> Bars:
    """Instructions of a whole inference (median), models side by side."""
    series = {n: (median(r.instructions) if r.instructions else None,) for n, r in results.items()}
    return Bars("Instructions per inference", ("inference",), series)


def operator_bars(results: Mapping[str, RunResult]) -> Bars:
    """Instructions per operator in one inference, models side by side, the largest first."""
    counts = {n: {c.name: c.instructions for c in r.operators} for n, r in results.items()}
    most: dict[str, int] = {}
    for operators in counts.values():
        for name, instructions in operators.items():
            most[name] = max(most.get(name, 0), instructions)
    groups = tuple(sorted(most, key=lambda name: -most[name])[:MOST_BARS])
    hidden = len(most) - len(groups)
    series = {model: tuple(map(operators.get, groups)) for model, operators in counts.items()}
    title = "Instructions per operator" + (f" (without the {hidden} smallest)" if hidden else "")
    return Bars(title, groups, series)


def svg(chart: Bars | Lines, prefix: str) -> str:
    """The chart as an SVG element; ``prefix`` keeps its ids apart from other charts' on a page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if len(chart.series) > len(SERIES):
        raise ValueError(f"{len(chart.series)} series, but {len(SERIES)} colors")
    # Text stays text; the salt keeps the ids of clip paths the same from run to run.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": prefix, "text.color": INK}
    height = LINES_INCHES
    if isinstance(chart, Bars):
        height = 0.7 + BAR_INCHES * len(chart.groups) * (len(chart.series) + 0.8)
    with rc_context(settings):
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        axes = figure.add_subplot()
        if isinstance(chart, Bars):
            _draw_bars(axes, chart)
        else:
            _draw_lines(axes, chart)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _embed(buffer.getvalue(), prefix, chart.title)


def _draw_bars(axes: Axes, bars: Bars) -> None:
    count = len(bars.series)
    for index, (name, values) in enumerate(bars.series.items()):
        places = [group + (index - (count - 1) / 2) / (count + 0.8) for group in range(len(values))]
        lengths = [0 if value is None else value for value in values]
        labels = ["" if value is None else f"{value:,.0f}" for value in values]
        drawn = axes.barh(places, lengths, 1 / (count + 0.8), color=SERIES[index], label=name)
        axes.bar_label(drawn, labels, padding=3)
    axes.set_yticks(range(len(bars.groups)), bars.groups, color=INK)
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    if count > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=count, frameon=False)


def _draw_lines(axes: Axes, lines: Lines) -> None:
    for color, (name, points) in zip(SERIES, lines.series.items(), strict=False):
        axes.step(*zip(*points, strict=True), where="post", color=color, label=name)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.legend(frameon=False, labelcolor=INK)


def _embed(document: str, prefix: str, title: str) -> str:
    """The SVG element alone, with its colors and ids made fit for a page of several."""
    element = document[document.index("<svg") :].strip()
    for color, variable in VARIABLES.items():
        element = element.replace(color, variable)
    element = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", element)
    return element.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
