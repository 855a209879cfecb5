"""The parser, the one catch, the exit codes.

0 done, 1 no command, 2 a command line that does not parse, 4 a user's error, 5 a missing package
or tool, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import tvm_kp
from tvm_kp.cli import board_server, compile, compress, micro, run, targets, tune
from tvm_kp.cli.config import flags_from_file
from tvm_kp.cli.options import Parser, add_verbose, join_target_flags
from tvm_kp.errors import MissingToolError, TvmKpError

DESCRIPTION = "Compile PyTorch RNNs, Kronecker factors kept, to plain C for ARM Cortex-M."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, prints errors without a traceback (``-vv``: with)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    args = None
    try:
        args = parser.parse_args(join_target_flags(_with_config(arguments)))
        if args.verb is None:
            parser.print_help(sys.stderr)
            return 1
        code: int = args.run(args)
        return code
    except TvmKpError as error:
        return _report(error, error.exit_code, args)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "tvm_kp"):
            raise
        missing = MissingToolError(f"no Python package {package}: pip install {package}")
        return _report(missing, missing.exit_code, args)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def build_parser() -> Parser:
    parser = Parser(prog="tvm-kp", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"tvm-kp {tvm_kp.__version__}")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE.json",
        help="read flags of the command from a JSON file; flags given here win",
    )
    add_verbose(parser)
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands")
    for verb in (compress, compile, tune, run, targets, micro, board_server):
        verb.register(verbs)
    return parser


def _with_config(arguments: list[str]) -> list[str]:
    """``--config F verb flags…`` -> ``verb <flags of F> flags…``, so that the command line wins."""
    known = Parser(add_help=False)
    known.add_argument("--config", type=Path)
    known.add_argument("-v", "--verbose", action="count")
    known.add_argument("rest", nargs=argparse.REMAINDER)
    found, _ = known.parse_known_args(arguments)
    if found.config is None or not found.rest:
        return arguments
    at = len(arguments) - len(found.rest) + 1
    return [*arguments[:at], *flags_from_file(found.config), *arguments[at:]]


def _report(error: Exception, code: int, args: argparse.Namespace | None) -> int:
    if args is not None and args.verbose + args.verbose_after > 1:
        traceback.print_exception(error)
    print(f"Error: {error}", file=sys.stderr)
    return code
