"""The paper's workloads on emulated boards: what an inference costs, dense and factored.

Weights and inputs are random (seeded), in float32 and quantized, calibrated on other random
inputs. All rows of a workload are one network, whose weights are left multiplied out or used as
factors. Multiply-accumulates (MACs) are the ones that the model itself needs, recurrence and head:
fewer once factored.

``--json`` writes {"results": […]}, an object a measurement, with the keys workload, weights (dense
or factored), factors, format, target, instructions (one inference), macs, instructions_per_mac,
speed_up (over the first row of the same target), flash_bytes, code_bytes, tables_bytes,
weights_bytes, ram_bytes, stack_bytes, max_difference and snr_db (to PyTorch's outputs, the largest
and in decibels) and operators (name, calls, instructions). With ``--host`` and ``--training`` the
keys are those of ``bench_host`` and ``bench_training``.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import readme
from bench_chart import cost_chart
from bench_host import host_table, measure_host
from bench_training import measure_training, training_table
from workloads import WORKLOADS, Sample, decibels, sample, trained

import tvm_kp
from tvm_kp import report
from tvm_kp.artifacts import Decision
from tvm_kp.cli import console, output
from tvm_kp.cli.options import names
from tvm_kp.errors import InputError, TvmKpError

# What outputs must have beside their differences to PyTorch's, in decibels.
LEAST_SNR = {"float32": 100.0, "int16x8": 35.0, "int8": 25.0}
BOARDS = ("mps2-an386", "mps2-an500", "mps3-an547")
COLUMNS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("workload", "", str),
    ("weights", "weights", str),
    ("format", "format", str),
    ("target", "board", str),
    ("instructions", "instructions", round),
    ("macs", "MACs", int),
    ("instructions_per_mac", "per MAC", lambda value: round(value, 2)),
    ("code_bytes", "code", int),
    ("tables_bytes", "tables", int),
    ("weights_bytes", "weights", int),
    ("ram_bytes", "RAM", int),
    ("stack_bytes", "stack", lambda value: "unknown" if value is None else value),
    ("speed_up", "speed-up", lambda value: round(value, 2)),
    ("snr_db", "SNR, dB", lambda value: round(value, 1)),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code is 1 if a result is not PyTorch's."""
    args = _parse(argv)
    try:
        _check(args)
        if args.training:
            rows = [row for name in args.workloads for row in measure_training(name)]
            _write(args, rows, (training_table(rows),))
            return 0
        if args.host:
            rows = [row for name in args.workloads for row in measure_host(name)]
            _write(args, rows, (host_table(rows),))
        else:
            rows = [row for name in args.workloads for row in measure(name, args)]
            _write(args, rows, tables(rows))
    except TvmKpError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    wrong = [row for row in rows if not row["snr_db"] >= LEAST_SNR[row["format"]]]
    for row in wrong:
        print("Wrong: {workload} {weights} {format} on {target}".format(**row), file=sys.stderr)
    return 1 if wrong else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about = "Measure the paper's workloads on emulated boards."
    parser = argparse.ArgumentParser(prog="scripts/bench", description=about)
    for flag, all_of in (
        ("--workloads", tuple(WORKLOADS)),
        ("--formats", tuple(LEAST_SNR)),
        ("--boards", BOARDS),
    ):
        parser.add_argument(flag, type=names, default=all_of, help=f"of {','.join(all_of)} (all)")
    folder = "trained networks (tests/networks has them) instead of random weights"
    parser.add_argument("--networks", type=Path, metavar="DIR", help=folder)
    parser.add_argument("--host", action="store_true", help="time this CPU instead, by LLVM")
    step = "time a step of training in PyTorch on this CPU, with every form"
    parser.add_argument("--training", action="store_true", help=step)
    parser.add_argument("--json", type=Path, metavar="FILE", help="the numbers, for scripts")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables, for people")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="instructions as SVG")
    parser.add_argument("--readme", action="store_true", help="rewrite the table in README.md")
    return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> None:
    for name in args.workloads:
        if name not in WORKLOADS:
            raise InputError(f"no workload {name}; there are {', '.join(WORKLOADS)}")
    for form in args.formats:
        if form not in LEAST_SNR:
            raise InputError(f"no format {form}; there are {', '.join(LEAST_SNR)}")
    for board in args.boards:
        if tvm_kp.Target.load(board).runner.kind == "host":
            raise InputError(f"{board} counts no instructions; there are {', '.join(BOARDS)}")
    if sum((args.networks is not None, args.host, args.training, args.readme)) > 1:
        raise InputError("of --networks, --host, --training and --readme give one at a time")
    filtered = (args.workloads, args.formats, args.boards)
    if args.readme and filtered != (tuple(WORKLOADS), tuple(LEAST_SNR), BOARDS):
        raise InputError("--readme takes everything: leave the filters out")
    if args.chart is not None and (args.host or args.training):
        raise InputError("--chart shows instructions: leave --host and --training out")
    for path in (args.json, args.markdown, args.chart):
        if path is not None:
            output.check_file(path)


def measure(name: str, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of one workload, dense and factored in every format on every board."""
    work, first = WORKLOADS[name], dict[str, float]()
    taken = sample(work) if args.networks is None else trained(name, args.networks)
    for form, weights in itertools.product(args.formats, ("dense", "factored")):
        factors = work.text if weights == "factored" and args.networks is None else ""
        for board in args.boards:
            print(f"Measuring {name} {weights} {form} on {board}", file=sys.stderr)
            row = _measure(taken, board, weights == "factored", form)
            count = first.setdefault(board, row["instructions"])
            head = {"workload": name, "weights": weights, "factors": factors, "format": form}
            yield {**head, **row, "speed_up": count / row["instructions"]}


def _measure(taken: Sample, board: str, factorize: bool, form: str) -> dict[str, Any]:
    options = tvm_kp.Options(factorize=factorize)
    if form != "float32":
        options = replace(options, quantize=form, calibration={"x": taken.calibration})
    compiled = tvm_kp.compile(taken.program, board, options=options)
    x, expected = taken.x.numpy(), taken.expected.numpy()
    result = tvm_kp.run(compiled.model, board, {"x": x}, profile=True)
    instructions, macs = median(result.instructions), _macs(compiled.model.decisions, taken.steps)
    sizes = (
        "flash_bytes",
        "code_bytes",
        "tables_bytes",
        "weights_bytes",
        "ram_bytes",
        "stack_bytes",
    )
    return {
        "target": board,
        "instructions": instructions,
        "macs": macs,
        "instructions_per_mac": instructions / macs,
        **{size: getattr(compiled.footprint, size) for size in sizes},
        "max_difference": float(np.abs(result.outputs["output"] - expected).max()),
        "snr_db": decibels(result.outputs["output"], expected),
        "operators": report.run_json(board, result)["operators"],
    }


def _macs(decisions: Sequence[Decision], steps: int) -> int:
    """Of one inference: what is outside ``main`` is the step of a recurrence."""
    return sum(d.macs_after * (1 if d.function == "main" else steps) for d in decisions)


def tables(rows: Sequence[dict[str, Any]]) -> tuple[report.Table, report.Table]:
    """Costs, and instructions by operator on the first board."""
    note = (
        "Sizes in bytes; tables are those of interpolated functions, the stack is without the C "
        f"library's. {report.COUNTED}"
    )
    lines = tuple(tuple(show(row[key]) for key, _, show in COLUMNS) for row in rows)
    costs = report.Table("One inference", tuple(c[1] for c in COLUMNS), lines, note)
    first = rows[0]["target"]
    counts = tuple(
        (row["workload"], row["weights"], row["format"], *operator.values())
        for row in rows
        for operator in (row["operators"] if row["target"] == first else ())
    )
    heads = ("", "weights", "format", "operator", "calls", "instructions")
    return costs, report.Table(f"Operators on {first}, one inference", heads, counts)


def _write(
    args: argparse.Namespace, rows: Sequence[dict[str, Any]], shown: Sequence[report.Table]
) -> None:
    console.stdout().print(*shown, sep="\n")
    texts = [f"{t.title}:\n\n{t.to_markdown()}\n" for t in shown]
    if args.json is not None:
        output.write_json(args.json, {"results": list(rows)})
    if args.markdown is not None:
        output.write(args.markdown, "\n".join(texts))
    if args.chart is not None:
        output.write(args.chart, cost_chart(rows))
    if args.readme:
        readme.rewrite("bench", texts[0])


if __name__ == "__main__":
    sys.exit(main())
