"""The main job on real data: train, compile, run on an emulated board, report.

An ``nn.LSTM`` and a ``KroneckerLSTM`` that read handwritten digits row by row are trained,
exported, compiled for a board, in float32 and quantized, and run there and on the host.

results.json has the keys target, images, seed and models; models maps dense and kronecker, in
float32 and with the format behind the name, to accuracy_pytorch, accuracy_host, accuracy_board,
max_difference_host, max_difference_board (to PyTorch's outputs), compression (of the RNN layer's
parameters), speed_up (over dense), instructions and operators as in ``tvm-kp run --json``, and
what ``tvm-kp compile --json`` has.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classifier import Classifier, export
from digits import RECIPES, TEST_IMAGES, Digits, load, train

import tvm_kp
from tvm_kp import report
from tvm_kp.artifacts import RunResult
from tvm_kp.cli import console, output
from tvm_kp.cli.options import positive
from tvm_kp.errors import TargetError, TvmKpError
from tvm_kp.quantizations import QUANTIZATIONS

CALIBRATION_IMAGES = 200  # of training


@dataclass(frozen=True)
class Outcome:
    """A compiled network, what its board counted and its entry in results.json."""

    compiled: tvm_kp.Compiled
    board: RunResult
    values: Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    args = _parse(argv)
    try:
        _demo(args)
    except TvmKpError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about = "Train, compile, run on an emulated board, report."
    parser = argparse.ArgumentParser(prog="scripts/demo", description=about)
    parser.add_argument("--output", type=Path, default="out/demo", help="folder (%(default)s)")
    parser.add_argument("--target", default="mps2-an386", help="board (%(default)s)")
    most = f"test images, at most {TEST_IMAGES} (all)"
    parser.add_argument("--images", type=positive, default=TEST_IMAGES, help=most)
    parser.add_argument("--seed", type=int, default=0, help="of split and training (%(default)s)")
    parser.add_argument("--epochs", type=positive, help="of training (40 dense, 60 Kronecker)")
    return parser.parse_args(argv)


def _demo(args: argparse.Namespace) -> None:
    started, out = time.perf_counter(), console.stdout()
    target = tvm_kp.Target.load(args.target)
    if target.runner.kind == "host":
        raise TargetError(f"the demo runs on a board, and {target.name} is none: tvm-kp targets")
    output.check_folder(args.output)
    args.output.mkdir(parents=True, exist_ok=True)
    digits = load(args.images, args.seed)
    outcomes = {}
    for recipe in RECIPES:
        epochs = args.epochs or recipe.epochs
        network = train(recipe, digits, args.seed, epochs, out)
        out.print(f"Compiling {recipe.name} and running {len(digits.test[0])} images")
        path = args.output / f"{recipe.name}.pt2"
        torch.export.save(export(network, digits.test[0]), path)
        for form in (None, *QUANTIZATIONS):
            name = "_".join(filter(None, (recipe.name, form)))
            outcomes[name] = _measure(name, path, form, network, target, digits)
    outcomes = _with_speed_up(outcomes)
    table = _result_table(target.name, outcomes)
    out.print()
    out.print(table)
    _write(args, outcomes, table, digits)
    out.print(f"Wrote these files to {args.output} after {time.perf_counter() - started:.0f} s:")
    out.print(*sorted(path.name for path in args.output.iterdir()))


def _measure(
    name: str,
    path: Path,
    form: str | None,
    network: Classifier,
    target: tvm_kp.Target,
    digits: Digits,
) -> Outcome:
    x, y = digits.test
    options = tvm_kp.Options(module_name=name)
    if form is not None:
        seen = {"x": digits.train[0][:CALIBRATION_IMAGES].unsqueeze(1).numpy()}
        options = replace(options, quantize=form, calibration=seen)
    compiled, on_host = (tvm_kp.compile(path, where, options=options) for where in (target, "host"))
    compiled.save(path.with_name(f"{name}.tar"))
    inputs = {"x": x.unsqueeze(1).numpy()}
    board = tvm_kp.run(compiled.model, target, inputs, profile=True)
    host = tvm_kp.run(on_host.model, "host", inputs)
    with torch.no_grad():
        expected = network(x).numpy()
    found = {"pytorch": expected, "host": host.outputs["output"][:, 0]}
    found["board"] = board.outputs["output"][:, 0]
    right = {f"accuracy_{k}": _accuracy(v, y.numpy()) for k, v in found.items()}
    apart = {f"max_difference_{k}": _difference(found[k], expected) for k in ("host", "board")}
    compression = getattr(network.rnn, "compression", 1.0)
    values = {**report.compile_json(compiled), **report.run_json(target.name, board)}
    return Outcome(compiled, board, {**values, **right, **apart, "compression": compression})


def _accuracy(scores: np.ndarray, digits: np.ndarray) -> float:
    return float((scores.argmax(1) == digits).mean())


def _difference(scores: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(scores - expected).max())


def _with_speed_up(outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    dense = outcomes["dense"].values["instructions"]
    return {
        name: replace(o, values={**o.values, "speed_up": dense / o.values["instructions"]})
        for name, o in outcomes.items()
    }


def _result_table(target: str, outcomes: Mapping[str, Outcome]) -> report.Table:
    """One column a model."""
    all_values = [outcome.values for outcome in outcomes.values()]
    rows = (
        ("accuracy, PyTorch", "accuracy_pytorch", "{:.1%}"),
        ("accuracy, C on the host", "accuracy_host", "{:.1%}"),
        (f"accuracy, {target}", "accuracy_board", "{:.1%}"),
        ("difference to PyTorch, host", "max_difference_host", "{:.1e}"),
        (f"difference to PyTorch, {target}", "max_difference_board", "{:.1e}"),
        ("flash, bytes", "flash_bytes", "{:,}"),
        ("RAM, bytes", "ram_bytes", "{:,}"),
        ("instructions per inference", "instructions", "{:,.0f}"),
        ("fewer parameters in the RNN layer", "compression", "{:.1f} ×"),
        ("speed-up", "speed_up", "{:.2f} ×"),
    )
    cells = tuple((text, *(form.format(v[key]) for v in all_values)) for text, key, form in rows)
    count = all_values[0]["inferences"]
    names = (name.replace("_", " ") for name in outcomes)  # a space may be a new line
    note = f"{count} test images. {report.COUNTED}"
    return report.Table("Handwritten digits", ("", *names), cells, note)


def _write(
    args: argparse.Namespace, outcomes: Mapping[str, Outcome], table: report.Table, digits: Digits
) -> None:
    """inputs.npz, results.json and report.html, beside the models."""
    x, y = digits.test
    # inputs.npz is what ``tvm-kp run --inputs`` takes.
    output.write_npz(args.output / "inputs.npz", {"x": x.unsqueeze(1).numpy()})
    output.write_npz(args.output / "digits.npz", {"digit": y.numpy()})
    results = {
        "target": args.target,
        "images": len(x),
        "seed": args.seed,
        "models": {name: outcome.values for name, outcome in outcomes.items()},
    }
    output.write_json(args.output / "results.json", results)
    page = report.html(_sections(outcomes, table), "Handwritten digits on " + args.target)
    output.write(args.output / "report.html", page)


def _sections(outcomes: Mapping[str, Outcome], table: report.Table) -> list[report.Section]:
    footprints = {name: outcome.compiled.footprint for name, outcome in outcomes.items()}
    counts = {name: _plain_names(name, outcome.board) for name, outcome in outcomes.items()}
    charts = (report.size_bars(footprints), report.total_bars(counts), report.operator_bars(counts))
    weights = [
        report.Section(
            f"Weights, {name}", tables=(report.decision_table(o.compiled.model.decisions),)
        )
        for name, o in outcomes.items()
    ]
    return [report.Section("Results", tables=(table,), charts=charts), *weights]


def _plain_names(name: str, result: RunResult) -> RunResult:
    """Operators without the model's prefix, so that the same one of two models is one group."""
    prefix = f"tvmgen_{name}_"
    plain = (replace(o, name=o.name.removeprefix(prefix)) for o in result.operators)
    return replace(result, operators=tuple(plain))


if __name__ == "__main__":
    sys.exit(main())
