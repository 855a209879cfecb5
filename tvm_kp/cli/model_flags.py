"""The flags that say which model is compiled or tuned, for which target, and how."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_kp.cli.memory_flags import USMP_CONFIG
from tvm_kp.cli.options import add_target, names, only, target_spec
from tvm_kp.errors import InputError, ModelError, TargetError
from tvm_kp.quantizations import CALIBRATION_RANGES, IO_BITS, QUANTIZATIONS, RANDOM
from tvm_kp.target import Target
from tvm_kp.target import names as target_names

if TYPE_CHECKING:
    from tvm_kp.driver import Options

# tvmc's PassContext keys that scripts carry: the values there are, and why no others.
PASS_CONFIG = {
    **USMP_CONFIG,
    "tir.disable_vectorize": ({"1", "true"}, "the C has no vector types"),
}


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model's file, the target, and what the generated kernels depend on."""
    parser.add_argument("FILE", type=Path, help="an exported program (torch.export.save, .pt2)")
    pytorch = only("pytorch", "export the model with torch.export and torch.export.save")
    parser.add_argument("--model-format", type=pytorch, metavar="pytorch")
    parser.add_argument(
        "--stream",
        action="store_true",
        help="one time step instead of a whole sequence: the C has step and reset, and a struct "
        "for the state, one for each stream",
    )
    add_target(
        parser,
        "a name of tvm-kp targets, a TOML file, or tvmc's c -mcpu=cortex-m4: "
        "sources; llvm -mcpu=cortex-m4: an object, for which no cross compiler is needed",
    )
    _add_quantization(parser.add_argument_group("integers"))
    _add_passes(parser.add_argument_group("passes"))


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
        help=f"what tvmc took by these names: {', '.join(PASS_CONFIG)}",
    )


def load_target(args: argparse.Namespace) -> Target:
    """The target; raises ``TargetError`` if none is given, or an unknown one."""
    spec = target_spec(args)
    if spec is None:
        raise TargetError(
            f"no --target given; there are {', '.join(target_names())}, or a TOML file"
        )
    return Target.load(spec)


def check(args: argparse.Namespace) -> None:
    """Raise ``ModelError`` or ``InputError`` for what cannot be, before anything takes long."""
    if not args.FILE.is_file():
        raise ModelError(
            f"no model file {args.FILE}: save one with torch.export.save(program, file)"
        )
    if args.calibration is not None and not args.tolerance and args.quantize is None:
        raise InputError("--calibration is for --quantize and --tolerance X: give one of them too")
    if args.quantize is None and (args.io != "float32" or args.allow_float):
        raise InputError("--io and --allow-float are of quantized models: give --quantize too")
    if args.quantize is not None and args.calibration is None:
        raise InputError(
            "--quantize needs --calibration FILE.npz with inputs of the model, from which the "
            "ranges of tensors come; --calibration random tries what a model costs"
        )


def options(args: argparse.Namespace, **more: Any) -> Options:
    """The options of ``compile`` that the flags say, and ``more``."""
    # TVM, torch and numpy take seconds to import: what checks a command line does not wait.
    from tvm_kp.driver import Options

    return Options(
        disabled_pass=args.disabled_pass,
        factorize=args.opt_level > 0,
        tolerance=args.tolerance,
        quantize=args.quantize,
        calibration=_calibration(args.calibration),
        calibration_range=args.calibration_range,
        io=args.io,
        allow_float=args.allow_float,
        stream=args.stream,
        **more,
    )


def _calibration(given: str | None) -> Any:
    from tvm_kp.cli.inputs import read_npz

    return given if given in (None, RANDOM) else read_npz(Path(given))


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


def _pass_config(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if name not in PASS_CONFIG:
        raise argparse.ArgumentTypeError(
            f"{name} is not known; there are {', '.join(PASS_CONFIG)}; see --disabled-pass too"
        )
    possible, why = PASS_CONFIG[name]
    if value.lower() not in possible:
        raise argparse.ArgumentTypeError(f"{text} is not available: {why}")
    return name, value
