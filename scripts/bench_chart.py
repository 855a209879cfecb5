"""The chart of ``scripts/bench``: what inferences cost, dense and factored, in every format."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from panels import Row, panels

_HEIGHT = 0.8  # of the bars of all boards together


def cost_chart(rows: Sequence[Row]) -> str:
    """Instructions of an inference, a panel a workload and a bar a board, as SVG."""
    boards = list(dict.fromkeys(row["target"] for row in rows))
    height = _HEIGHT / len(boards)

    def draw(axes: Axes, panel: Sequence[Row]) -> None:
        models = list(dict.fromkeys(_model(row) for row in panel))
        for number, board in enumerate(boards):
            some = [row for row in panel if row["target"] == board]
            places = [models.index(_model(row)) + height * number for row in some]
            counts = [row["instructions"] for row in some]
            axes.barh(places, counts, height, label=board)
        middle = height * (len(boards) - 1) / 2
        axes.set_yticks([place + middle for place in range(len(models))], models)
        axes.invert_yaxis()
        axes.set_xlabel("instructions of an inference")

    return panels(rows, "workload", draw)


def _model(row: Row) -> str:
    return f"{row['weights']} {row['format']}"
