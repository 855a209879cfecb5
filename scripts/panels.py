"""Charts beside each other, as one SVG."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = Mapping[str, Any]


def panels(rows: Sequence[Row], key: str, draw: Callable[[Axes, Sequence[Row]], None]) -> str:
    """The SVG of a panel for each value of ``key``, drawn by ``draw`` of the rows that have it."""
    names = list(dict.fromkeys(row[key] for row in rows))
    figure = Figure(figsize=(4.2 * len(names), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        draw(axes, [row for row in rows if row[key] == name])
        axes.set_title(name)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):  # text that can be searched
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
