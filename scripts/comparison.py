"""Results of ``scripts/reproduce`` as a table, and as charts in SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from panels import panels

from tvm_kp import report

Row = Mapping[str, Any]
COLORS = {
    "dense": "#656d76",
    "small": "#bf3989",
    "pruned": "#8250df",
    "low-rank": "#1a7f37",
    "kronecker": "#0969da",
    "reshaped": "#bc4c00",
    "hybrid": "#9a6700",
}


def table(rows: Sequence[Row], target: str, note: str) -> report.Table:
    """A row a network: the mean over its seeds, and the firmware of the first one."""
    columns = (
        "",
        "weights",
        "form",
        "parameters",
        "smaller",
        "accuracy, %",
        "int8, %",
        "RNN bytes, int8",
        "smaller in bytes",
        "flash",
        "instructions",
    )
    lines = tuple(
        (
            row["benchmark"],
            row["method"],
            row["form"],
            row["parameters"],
            round(row["compression"], 1),
            spread(row["accuracies"]),
            spread(row["int8"]["accuracies"]),
            row["int8"]["rnn_bytes"],
            round(row["int8"]["compression"], 1),
            row["int8"]["flash_bytes"],
            round(row["int8"]["instructions"]),
        )
        for row in rows
    )
    about = (
        "Parameters are those of the recurrent layer with one bias, as the paper counts them, and "
        "accuracy is of its test samples, ± the deviation over seeds. RNN bytes are the layer's "
        "weights and biases in the firmware, smaller in bytes than the dense layer's in float32; "
        f"flash and instructions are of one inference in int8 on {target}. {report.COUNTED} {note}"
    )
    return report.Table("Networks compared", columns, lines, about)


def spread(accuracies: Sequence[float]) -> str:
    """Percent: "97.4 ± 0.2", without a deviation if there is one value."""
    percent = [100 * accuracy for accuracy in accuracies]
    deviation = f" ± {stdev(percent):.1f}" if len(percent) > 1 else ""
    return f"{mean(percent):.1f}{deviation}"


def accuracy_chart(rows: Sequence[Row]) -> str:
    """Accuracy against parameters, a panel a benchmark, as SVG."""

    def draw(axes: Axes, panel: Sequence[Row]) -> None:
        for row in panel:
            percent = [100 * accuracy for accuracy in row["accuracies"]]
            sizes = [row["parameters"]] * len(percent)
            axes.scatter(sizes, percent, 12, color=COLORS[row["method"]], alpha=0.5)
            axes.scatter(
                row["parameters"],
                mean(percent),
                45,
                color=COLORS[row["method"]],
                label=row["method"],
            )
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())  # its labels would lie on each other
        axes.set_xlabel("parameters of the recurrent layer")
        axes.set_ylabel("test accuracy, %")

    return panels(rows, "benchmark", draw)


def training_chart(rows: Sequence[Row]) -> str:
    """The share of training samples that were right, by epoch, the first seed's, as SVG."""

    def draw(axes: Axes, panel: Sequence[Row]) -> None:
        for row in panel:
            percent = [100 * epoch["accuracy"] for epoch in row["history"]]
            steps = range(1, len(percent) + 1)
            axes.plot(steps, percent, color=COLORS[row["method"]], label=row["method"])
        axes.set_xlabel("epoch")
        axes.set_ylabel("right while training, %")

    return panels(rows, "benchmark", draw)
