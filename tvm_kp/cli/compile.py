"""``compile FILE``: a model file becomes C in a Model Library Format archive."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_kp.cli import console, output
from tvm_kp.cli.options import add_target, add_verb, names, only, target_spec
from tvm_kp.errors import InputError, ModelError, TargetError
from tvm_kp.quantizations import CALIBRATION_RANGES, IO_BITS, QUANTIZATIONS, RANDOM
from tvm_kp.target import Target
from tvm_kp.target import names as target_names

if TYPE_CHECKING:
    from tvm_kp.driver import Compiled

AOT = "a model becomes plain C that calls its operators; leave the flag out"
C_API = "the C takes plain pointers, no packed values; leave the flag out"
# tvmc's PassContext keys that scripts carry: the values that ask for what is done anyway.
PASS_CONFIG = {
    "tir.usmp.enable": ({"1", "true"}, "memory is always planned at compile time"),
    "tir.usmp.algorithm": ({"greedy_by_size"}, "the plan is never larger than greedy_by_size's"),
    "tir.usmp.use_workspace_io": ({"0", "false"}, "the caller owns inputs and outputs"),
    "tir.disable_vectorize": ({"1", "true"}, "the C has no vector types"),
}


def register(verbs: Any) -> None:
    """Add ``compile`` to the parser's ``verbs``."""
    parser = add_verb(verbs, "compile", "compile a model to C for a target", run)
    parser.add_argument("FILE", type=Path, help="an exported program (torch.export.save, .pt2)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("module.tar"),
        metavar="FILE",
        help="the archive (%(default)s)",
    )
    mlf = only("mlf", "a microcontroller links C sources; tvm-kp micro build makes the firmware")
    parser.add_argument("-f", "--output-format", type=mlf, default="mlf", metavar="mlf")
    pytorch = only("pytorch", "export the model with torch.export and torch.export.save")
    parser.add_argument("--model-format", type=pytorch, metavar="pytorch")
    parser.add_argument(
        "--module-name",
        default="default",
        metavar="NAME",
        help="part of every C name (%(default)s)",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="one time step instead of a whole sequence: the C has step and reset, and a struct "
        "for the state, one for each stream",
    )
    add_target(parser, "a name of tvm-kp targets, a TOML file, or tvmc's c -mcpu=cortex-m4")
    _add_executor(
        parser.add_argument_group("tvmc's executor and runtime, which have one choice here")
    )
    _add_quantization(parser.add_argument_group("integers"))
    _add_passes(parser.add_argument_group("passes"))
    files = parser.add_argument_group("more outputs")
    files.add_argument("--dump", type=Path, metavar="DIR", help="the module after every pass")
    files.add_argument("--report", type=Path, metavar="FILE", help="decisions and sizes as HTML")
    files.add_argument("--json", type=Path, metavar="FILE", help="decisions and sizes as JSON")


def _add_executor(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--executor", type=only("aot", AOT), metavar="aot")
    group.add_argument("--executor-aot-interface-api", type=only("c", C_API), metavar="c")
    group.add_argument("--executor-aot-unpacked-api", type=only("1", C_API), metavar="1")
    group.add_argument(
        "--executor-aot-workspace-byte-alignment",
        dest="alignment",
        type=_alignment,
        default=8,
        metavar="BYTES",
        help="alignment of the workspace and the buffers in it, at least 4 (%(default)s)",
    )
    crt = only("crt", "the C needs no runtime at all; leave the flag out")
    group.add_argument("--runtime", type=crt, metavar="crt")


def _add_quantization(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--quantize",
        choices=tuple(QUANTIZATIONS),
        help="weights of 8 bits, and activations of 8 (int8) or 16 (int16x8); needs --calibration",
    )
    group.add_argument(
        "--calibration",
        metavar="FILE|random",
        help="inputs (npz) that ranges are chosen by and errors measured on, of --quantize and of "
        "--tolerance; its array labels, if there, is of right classes. random: made up",
    )
    group.add_argument(
        "--calibration-range",
        choices=CALIBRATION_RANGES,
        default="min-max",
        help="what 8 bits hold: every value, 99.99%% or as many as round best (%(default)s)",
    )
    group.add_argument(
        "--io",
        choices=tuple(IO_BITS),
        default="float32",
        help="type of inputs and outputs; the header has the scales of integers (%(default)s)",
    )
    group.add_argument(
        "--allow-float",
        action="store_true",
        help="run operators that have no integer form in float instead of refusing them",
    )


def _add_passes(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-O",
        "--opt-level",
        type=int,
        choices=range(4),
        default=3,
        help="0 leaves Kronecker weights multiplied out; 1 to 3 are the same (%(default)s)",
    )
    group.add_argument(
        "--tolerance",
        type=_tolerance,
        default=0.0,
        metavar="X",
        help="relative error up to which a weight may be replaced by a cheaper one "
        "(%(default)g: only by what it is exactly)",
    )
    group.add_argument(
        "--disabled-pass", type=names, default=(), metavar="A,B", help="passes to leave out"
    )
    group.add_argument(
        "--pass-config",
        action="append",
        type=_pass_config,
        metavar="NAME=VALUE",
        help=f"accepted where it asks for what is done anyway: {', '.join(PASS_CONFIG)}",
    )


def run(args: argparse.Namespace) -> int:
    """Compile, write the outputs, print the decisions and sizes."""
    target = _target(args)
    if not args.FILE.is_file():
        raise ModelError(
            f"no model file {args.FILE}: save one with torch.export.save(program, file)"
        )
    _check_outputs(args)
    _check_calibration(args)
    compiled = _compile(args, target)
    compiled.save(args.output)
    _write_reports(args, compiled)
    _print(args, compiled)
    return 0


def _target(args: argparse.Namespace) -> Target:
    spec = target_spec(args)
    if spec is None:
        raise TargetError(
            f"no --target given; there are {', '.join(target_names())}, or a TOML file"
        )
    return Target.load(spec)


def _check_calibration(args: argparse.Namespace) -> None:
    if args.calibration is not None and not args.tolerance and args.quantize is None:
        raise InputError("--calibration is for --quantize and --tolerance X: give one of them too")
    if args.quantize is None and (args.io != "float32" or args.allow_float):
        raise InputError("--io and --allow-float are of quantized models: give --quantize too")
    if args.quantize is not None and args.calibration is None:
        raise InputError(
            "--quantize needs --calibration FILE.npz with inputs of the model, from which the "
            "ranges of tensors come; --calibration random tries what a model costs"
        )


def _check_outputs(args: argparse.Namespace) -> None:
    for path in (args.output, args.report, args.json):
        if path is not None:
            output.check_file(path)
    if args.dump is not None:
        output.check_folder(args.dump)


def _compile(args: argparse.Namespace, target: Target) -> Compiled:
    with console.progress(args, f"Compiling {args.FILE.name} for {target.name}") as progress:
        # TVM, torch and numpy take seconds to import: nothing above waits for them.
        from tvm_kp import driver

        options = driver.Options(
            module_name=args.module_name,
            dump=args.dump,
            disabled_pass=args.disabled_pass,
            factorize=args.opt_level > 0,
            tolerance=args.tolerance,
            quantize=args.quantize,
            calibration=_calibration(args.calibration),
            calibration_range=args.calibration_range,
            io=args.io,
            allow_float=args.allow_float,
            workspace_alignment=args.alignment,
            stream=args.stream,
        )
        return driver.compile(args.FILE, target, options=options, progress=progress)


def _calibration(given: str | None) -> Any:
    from tvm_kp.cli.inputs import read_npz

    return given if given in (None, RANDOM) else read_npz(Path(given))


def _write_reports(args: argparse.Namespace, compiled: Compiled) -> None:
    from tvm_kp import report

    if args.json is not None:
        output.write_json(args.json, report.compile_json(compiled))
    if args.report is not None:
        output.write(args.report, report.html(report.compile_sections(compiled)))


def _print(args: argparse.Namespace, compiled: Compiled) -> None:
    from tvm_kp import report

    out = console.stdout()
    if compiled.recurrences:
        out.print(report.recurrence_table(compiled.recurrences))
    out.print(report.decision_table(compiled.model.decisions))
    if compiled.output_errors:
        out.print(report.error_table(compiled.output_errors))
    if compiled.quantized is not None:
        for table in report.quantization_tables(compiled.quantized):
            out.print(table)
        for warning in report.warnings(compiled.quantized):
            console.warn(warning)
    out.print(report.footprint_table(compiled.model, compiled.footprint))
    for path in (args.output, args.report, args.json, args.dump):
        if path is not None:
            out.print(f"Wrote {path}", markup=False, highlight=False)


def _alignment(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1 or value & (value - 1):
        raise argparse.ArgumentTypeError(f"{text} is not a power of two")
    return value


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(
            f"{text} is no relative error; give 0 (exact) or a number below 1, 0.01 say"
        )
    return value


def _pass_config(text: str) -> str:
    name, _, value = text.partition("=")
    if name not in PASS_CONFIG:
        raise argparse.ArgumentTypeError(
            f"{name} is not known; there are {', '.join(PASS_CONFIG)}; see --disabled-pass too"
        )
    agreeing, why = PASS_CONFIG[name]
    if value.lower() not in agreeing:
        raise argparse.ArgumentTypeError(f"{text} is not available: {why}")
    return text
