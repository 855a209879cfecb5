"""Charts as SVG whose colors are CSS variables, so that a page decides on light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median
from typing import TYPE_CHECKING, Any

from tvm_kp.artifacts import Footprint, Quantized, RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# matplotlib wants colors, the page has variables: these stand for them until the SVG is written.
INK = "#010101"
SERIES = ("#020001", "#020002", "#020003", "#020004", "#020005", "#020006")
VARIABLES = {INK: "var(--ink)"} | {c: f"var(--series-{i})" for i, c in enumerate(SERIES)}
MOST_BARS = 12
LONGEST_LINE = 28  # of a name beside a bar, in characters
WIDTH_INCHES = 8.0
BAR_INCHES = 0.24
LINE_INCHES = 0.17
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
    """A line for each of ``series``: pairs of x, a count, and y."""

    title: str
    series: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Shares:
    """How much of each whole is used: (used, whole) by name."""

    title: str
    parts: Mapping[str, tuple[int, int]]


Chart = Bars | Lines | Shares


def size_bars(footprints: Mapping[str, Footprint]) -> Bars:
    """Flash and RAM in bytes, models side by side."""
    series = {name: (f.flash_bytes, f.ram_bytes) for name, f in footprints.items()}
    return Bars("Flash and RAM, bytes", ("flash", "RAM"), series)


def total_bars(results: Mapping[str, RunResult]) -> Bars:
    """What a whole inference took (median), models side by side."""
    series = {n: (median(r.counts) if r.counts else None,) for n, r in results.items()}
    return Bars(f"{_unit(results)} per inference", ("inference",), series)


def operator_bars(results: Mapping[str, RunResult]) -> Bars:
    """What operators took of one inference, models side by side, the largest first."""
    counts = {n: {c.name: c.count for c in r.operators} for n, r in results.items()}
    return largest_bars(f"{_unit(results)} per operator", counts)


def _unit(results: Mapping[str, RunResult]) -> str:
    return " or ".join(sorted({r.unit for r in results.values()})).capitalize()


def largest_bars(title: str, counts: Mapping[str, Mapping[str, int]]) -> Bars:
    """The largest of what is counted by model and name, models side by side."""
    most: dict[str, int] = {}
    for named in counts.values():
        for name, value in named.items():
            most[name] = max(most.get(name, 0), value)
    groups = tuple(sorted(most, key=lambda name: -most[name])[:MOST_BARS])
    hidden = len(most) - len(groups)
    series = {model: tuple(map(named.get, groups)) for model, named in counts.items()}
    return Bars(title + (f" (without the {hidden} smallest)" if hidden else ""), groups, series)


def drift_lines(quantized: Quantized) -> Lines | None:
    """The relative errors of states after every time step, of those that end with the largest."""
    drifting = [tensor for tensor in quantized.tensors if len(tensor.drift) > 1]
    worst = sorted(drifting, key=lambda tensor: -tensor.drift[-1])[: len(SERIES)]
    series = {tensor.name: tuple(enumerate(tensor.drift, 1)) for tensor in worst}
    hidden = len(drifting) - len(worst)
    title = "Relative errors of states, by time step"
    title += f" (without the {hidden} smallest)" if hidden else ""
    return Lines(title, series) if series else None


def svg(chart: Chart, prefix: str) -> str:
    """The chart as an SVG element; ``prefix`` keeps its ids apart from other charts' on a page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if not isinstance(chart, Shares) and len(chart.series) > len(SERIES):
        raise ValueError(f"{len(chart.series)} series, but {len(SERIES)} colors")
    # Text stays text; the salt keeps the ids of clip paths the same from run to run.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": prefix, "text.color": INK}
    with rc_context(settings):
        figure = Figure(figsize=(WIDTH_INCHES, LINES_INCHES), layout="constrained")
        axes = figure.add_subplot()
        if isinstance(chart, Lines):
            _draw_lines(axes, chart)
        elif isinstance(chart, Shares):
            figure.set_figheight(_draw_shares(axes, chart))
        else:
            figure.set_figheight(_draw_bars(axes, chart))
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _embed(buffer.getvalue(), prefix, chart.title)


def _draw_bars(axes: Axes, bars: Bars) -> float:
    """Draw the bars; the height in inches that they want."""
    count = len(bars.series)
    colors = SERIES if count > 1 else SERIES[1:]  # the first is gray: what others are compared to
    for index, (name, values) in enumerate(bars.series.items()):
        places = [group + (index - (count - 1) / 2) / (count + 0.8) for group in range(len(values))]
        lengths = [0 if value is None else value for value in values]
        labels = ["" if value is None else f"{value:,.0f}" for value in values]
        drawn = axes.barh(places, lengths, 1 / (count + 0.8), color=colors[index], label=name)
        axes.bar_label(drawn, labels, padding=3)
    axes.margins(x=0.12)
    if count > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=count, frameon=False)
    lines = _name_groups(axes, bars.groups)
    return 0.7 + len(bars.groups) * max(BAR_INCHES * (count + 0.8), LINE_INCHES * (lines + 0.8))


def _draw_shares(axes: Axes, shares: Shares) -> float:
    """Draw a bar a whole, as wide as all of it; the height in inches that they want."""
    names = [f"{n}: {used:,} of {of:,}" for n, (used, of) in shares.parts.items()]
    used = [used / of for used, of in shares.parts.values()]
    axes.barh(range(len(used)), 1, 0.5, color="none", edgecolor=INK, linewidth=0.8)
    drawn = axes.barh(range(len(used)), used, 0.5, color=SERIES[1])
    axes.bar_label(drawn, [f"{share:.2%}" for share in used], padding=3)
    axes.margins(x=0.01)
    _name_groups(axes, names)
    return 0.4 + 2 * BAR_INCHES * len(used)


def _name_groups(axes: Axes, names: Sequence[str]) -> int:
    """Names instead of an axis, the first one on top; the most lines that one takes."""
    wrapped = [_wrapped(name) for name in names]
    axes.set_yticks(range(len(names)), wrapped, color=INK)
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.invert_yaxis()
    return max((name.count("\n") + 1 for name in wrapped), default=1)


def _wrapped(name: str) -> str:
    """``name`` in lines, each as full as ``LONGEST_LINE`` allows."""
    lines = [""]
    for word in re.findall(r"[^_ ]+[_ ]*|[_ ]+", name):
        if lines[-1] and len(lines[-1] + word) > LONGEST_LINE:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def _draw_lines(axes: Axes, lines: Lines) -> None:
    for color, (name, points) in zip(SERIES, lines.series.items(), strict=False):
        axes.step(*zip(*points, strict=True), where="post", color=color, label=name)
    axes.locator_params(axis="x", integer=True)
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
    start, rest = element.split(">", 1)
    return f'{start} role="img">\n<title>{escape(title)}</title>{rest}'
