"""``run PATH``: a compiled model on the host or a board, with what it costs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_kp.cli import console, output, tvmc_flags
from tvm_kp.cli.check import Check
from tvm_kp.cli.options import add_target, add_verb, positive, seconds, target_spec
from tvm_kp.errors import InputError, ModelError
from tvm_kp.target import Target

if TYPE_CHECKING:
    import numpy as np

    from tvm_kp.artifacts import Model, RunResult
    from tvm_kp.report import Table

    # (inputs, *, repeat, profile, timeout_s) -> RunResult
    Execute = Callable[..., RunResult]

FILL_MODES = ("zeros", "ones", "random")
DEVICES = ("auto", "micro")


def register(verbs: Any) -> None:
    """Add ``run`` to the parser's ``verbs``."""
    parser = add_verb(verbs, "run", "run a compiled model", run)
    parser.add_argument(
        "PATH", type=Path, help="an archive of compile, or a project folder of micro"
    )
    parser.add_argument(
        "--device",
        type=_device,
        default="auto",
        metavar="{auto,micro}",
        help="micro: PATH must be a project folder (auto: whatever PATH is)",
    )
    add_target(parser, "where an archive runs (the target it was compiled for)")
    parser.add_argument(
        "--port",
        metavar="DEVICE",
        help="serial port of an attached board, such as /dev/ttyACM0 or socket://host:port (that "
        "of its USB identity)",
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "-i",
        "--inputs",
        type=Path,
        metavar="X.npz",
        help="arrays by input name; a leading axis more than the model's is one over inferences",
    )
    data.add_argument("-o", "--outputs", type=Path, metavar="Y.npz", help="write the outputs")
    data.add_argument(
        "--fill-mode",
        choices=FILL_MODES,
        help="make up the inputs that --inputs does not have (random; always the same values)",
    )
    _add_measures(parser.add_argument_group("measuring"))
    tvmc_flags.add_replaced(parser, tvmc_flags.RUN)


def _add_measures(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--repeat", type=positive, default=1, metavar="N", help="runs of each input")
    group.add_argument(
        "--print-time", action="store_true", help="instructions (board) or seconds (host)"
    )
    group.add_argument("--profile", action="store_true", help="the same for every operator")
    group.add_argument(
        "--print-top", type=positive, metavar="N", help="the N largest values of every output"
    )
    group.add_argument(
        "--check",
        action="store_true",
        help="run the model on this computer too: the largest difference of every output, and the "
        "first operator that differs (integers at all, floats by 1e-5 of the largest value)",
    )
    group.add_argument(
        "--reference",
        type=Path,
        metavar="ARCHIVE",
        help="what --check runs here: the same network compiled for host (PATH itself, which must "
        "not use instructions that this computer lacks)",
    )
    group.add_argument("--timeout", type=seconds, metavar="SECONDS", help="end a run that hangs")
    group.add_argument("--report", type=Path, metavar="FILE", help="what was measured as HTML")
    group.add_argument("--json", type=Path, metavar="FILE", help="write what was measured as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the model on all inputs, write and print what was asked for."""
    if args.reference is not None and not args.check:
        raise InputError("--reference says what --check runs: give --check, too")
    for path in (args.outputs, args.report, args.json):
        if path is not None:
            output.check_file(path)
    from tvm_kp.cli import inputs

    given = {} if args.inputs is None else inputs.read_npz(args.inputs)
    spec = _check_path(args)
    with console.progress(args, f"Running {args.PATH.name}") as progress:
        started = time.perf_counter()
        model, target, execute = _open(args.PATH, spec, args.port)
        loaded = time.perf_counter()
        progress("load", loaded - started)
        values = inputs.complete(given, model.inputs, args.fill_mode)
        check = Check.start(args, model, target, values) if args.check else None
        result = execute(values, repeat=args.repeat, profile=args.profile, timeout_s=args.timeout)
        progress("run", time.perf_counter() - loaded)
        differences = None if check is None else check.table(result.outputs)
    single = inputs.inferences(values, model.inputs) is None
    outputs = {name: array[0] if single else array for name, array in result.outputs.items()}
    if args.outputs is not None:
        output.write_npz(args.outputs, outputs)
    _report(args, model, target, result, differences)
    if args.print_top is not None:
        _print_top(outputs, args.print_top)
    if differences is not None:
        console.stdout().print(differences)
    return 0


def _check_path(args: argparse.Namespace) -> str | None:
    """The target asked for, after refusing what ``PATH`` cannot be."""
    path, spec = args.PATH, target_spec(args)
    if not path.exists():
        raise ModelError(f"no file or folder {path}: tvm-kp compile makes an archive")
    if path.is_dir() and spec is not None:
        raise ModelError(
            f"{path} is a project folder, built for its own target: leave --target out, or run "
            "the archive"
        )
    if args.device == "micro" and not path.is_dir():
        raise ModelError(
            f"--device micro runs a project folder, and {path} is a file: make the folder with "
            "tvm-kp micro create, or leave the flag out"
        )
    return spec


def _open(path: Path, spec: str | None, port: str | None) -> tuple[Model, Target, Execute]:
    from tvm_kp import driver
    from tvm_kp.board import Project

    if path.is_dir():
        project = Project.open(path)
        if port is not None and project.target.runner.kind != "serial":
            raise InputError(f"{project.target.name} is not attached to a port: leave --port out")
        return project.model, project.target, partial(project.run, port=port)
    if port is not None:
        raise InputError("--port is of a board that runs a project: give the project's folder")
    target = None if spec is None else Target.load(spec)
    model = driver.load(path)
    chosen = Target.load(model.target) if target is None else target
    return model, chosen, partial(driver.run, model, chosen)


def _report(
    args: argparse.Namespace,
    model: Model,
    target: Target,
    result: RunResult,
    differences: Table | None,
) -> None:
    from tvm_kp import report

    if args.json is not None:
        output.write_json(args.json, report.run_json(target.name, result))
    if args.report is not None:
        sections = report.run_sections(model, target.name, result, differences)
        output.write(args.report, report.html(sections, f"{model.name} run on {target.name}"))
    out = console.stdout()
    asked = (args.profile, args.print_top, args.outputs, args.report, args.json)
    if args.print_time or not any(asked):
        out.print(report.time_table(target.name, result))
    if args.profile:
        out.print(report.profile_table(target.name, result))
    for path in (args.outputs, args.report, args.json):
        if path is not None:
            out.print(f"Wrote {path}", markup=False)


def _print_top(outputs: Mapping[str, np.ndarray], count: int) -> None:
    """The largest values of every output and where they are, one inference after the other."""
    import numpy as np

    from tvm_kp import report

    rows = []
    for name, array in outputs.items():
        flat = array.reshape(-1)
        order = np.argsort(-flat, kind="stable")[:count]
        places = (np.unravel_index(place, array.shape) for place in order)
        rows += [
            (name, ", ".join(str(int(i)) for i in place), float(array[place])) for place in places
        ]
    table = report.Table(f"Top {count}", ("output", "index", "value"), tuple(rows))
    console.stdout().print(table)


def _device(text: str) -> str:
    if text not in DEVICES:
        raise argparse.ArgumentTypeError(
            f"{text} is not available, only auto and micro: --target host runs an archive here"
        )
    return text
