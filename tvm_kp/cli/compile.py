"""``compile FILE``: a model file becomes C in a Model Library Format archive."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_kp.cli import console, memory_flags, model_flags, output, tvmc_flags
from tvm_kp.cli.options import add_verb, only
from tvm_kp.optimization import OPTIMIZE, SPEED
from tvm_kp.target import Target

if TYPE_CHECKING:
    from tvm_kp.driver import Compiled
    from tvm_kp.report import Places

AOT = "a model becomes plain C that calls its operators; leave the flag out"
C_API = "the C takes plain pointers, no packed values; leave the flag out"


def register(verbs: Any) -> None:
    """Add ``compile`` to the parser's ``verbs``."""
    parser = add_verb(verbs, "compile", "compile a model to C for a target", run)
    model_flags.add_model(parser)
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
    parser.add_argument(
        "--module-name",
        default="default",
        metavar="NAME",
        help="part of every C name (%(default)s)",
    )
    parser.add_argument(
        "--tuning-records",
        default="shipped",
        metavar="FILE|none",
        help="how kernels are scheduled: records of tvm-kp tune; none: the defaults "
        "(%(default)s: those of the target's core that come with tvm-kp)",
    )
    parser.add_argument(
        "--optimize",
        choices=OPTIMIZE,
        default=SPEED,
        help="size: loops that compilers do not write out, and no shipped records (%(default)s)",
    )
    memory_flags.add_memory(parser)
    _add_executor(
        parser.add_argument_group("tvmc's executor and runtime, which have one choice here")
    )
    tvmc_flags.add_replaced(parser, tvmc_flags.COMPILE)
    files = parser.add_argument_group("more outputs")
    files.add_argument("--dump", type=Path, metavar="DIR", help="the module after every pass")
    files.add_argument(
        "--report", type=Path, metavar="FILE", help="decisions, sizes, accuracy as HTML"
    )
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
    group.add_argument(
        "--executor-aot-constant-byte-alignment",
        dest="constant_alignment",
        type=_alignment,
        default=1,
        metavar="BYTES",
        help="the same of the constants: both get the larger one",
    )
    crt = only("crt", "the C needs no runtime at all; leave the flag out")
    group.add_argument("--runtime", type=crt, metavar="crt")
    no_system_lib = only("0", "functions are called by their names; leave the flag out")
    group.add_argument("--runtime-crt-system-lib", type=no_system_lib, metavar="0")


def run(args: argparse.Namespace) -> int:
    """Compile, write the outputs, print the decisions and sizes."""
    target = model_flags.load_target(args)
    _check_outputs(args)
    model_flags.check(args)
    compiled = _compile(args, target, memory_flags.memory_options(args))
    compiled.save(args.output)
    _write_reports(args, compiled)
    _print(args, compiled)
    return 0


def _check_outputs(args: argparse.Namespace) -> None:
    for path in (args.output, args.report, args.json):
        if path is not None:
            output.check_file(path)
    if args.dump is not None:
        output.check_folder(args.dump)


def _compile(args: argparse.Namespace, target: Target, memory: dict[str, Any]) -> Compiled:
    with console.progress(args, f"Compiling {args.FILE.name} for {target.name}") as progress:
        # TVM, torch and numpy take seconds to import: nothing above waits for them.
        from tvm_kp import driver

        options = model_flags.options(
            args,
            module_name=args.module_name,
            dump=args.dump,
            workspace_alignment=max(args.alignment, args.constant_alignment),
            tuning_records=args.tuning_records,
            optimize=args.optimize,
            **memory,
        )
        return driver.compile(args.FILE, target, options=options, progress=progress)


def _write_reports(args: argparse.Namespace, compiled: Compiled) -> None:
    from tvm_kp import report

    if args.json is not None:
        output.write_json(args.json, report.compile_json(compiled))
    if args.report is not None:
        sections = report.compile_sections(compiled, args.output, _places(compiled))
        title = f"{compiled.model.name} on {compiled.model.target}"
        output.write(args.report, report.html(sections, title))


def _places(compiled: Compiled) -> Places:
    """Where firmware of tvm-kp has the constants and pools of a model."""
    from tvm_kp.board.toolchain import constants_memory, own_memory
    from tvm_kp.report import Places

    model, target = compiled.model, compiled.target
    if "flash" not in target.memories:
        return Places()
    constants = constants_memory(model.constants_bytes, target, model.constants_section)
    pools = {pool.name: own_memory(pool.name, target) or "ram" for pool in model.pools}
    return Places(constants, pools)


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
    if compiled.stale:
        console.warn(
            f"{compiled.stale} tuning records were ignored: another TVM or other kernels; "
            "tvm-kp tune measures anew"
        )
    if compiled.damaged:
        console.warn(
            f"{compiled.damaged} damaged lines of {args.tuning_records} were ignored; "
            "tvm-kp tune sets them aside"
        )
    out.print(report.footprint_table(compiled.model, compiled.footprint))
    for path in (args.output, args.report, args.json, args.dump):
        if path is not None:
            out.print(f"Wrote {path}", markup=False, highlight=False)


def _alignment(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1 or value & (value - 1):
        raise argparse.ArgumentTypeError(f"{text} is not a power of two")
    return value
