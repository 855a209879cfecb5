"""The parser, the one catch, the exit codes.

0 done, 1 no command, 2 a command line that does not parse, 4 a user's error, 5 a missing package
or tool, 130 interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

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
    with _interrupts() as interrupted:
        try:
            args = parser.parse_args(join_target_flags(_with_config(arguments)))
            if args.verb is None:
                parser.print_help(sys.stderr)
                return 1
            code: int = args.run(args)
            return code
        except BaseException as error:
            if interrupted or isinstance(error, KeyboardInterrupt):
                print("Interrupted.", file=sys.stderr)
                return 130
            return _exit_code(error, args)


def _exit_code(error: BaseException, args: argparse.Namespace | None) -> int:
    """Report a user's error, and what is missing; raise all else again."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package not in ("", "tvm_kp"):
            error = MissingToolError(f"no Python package {package}: pip install {package}")
    if not isinstance(error, TvmKpError):
        raise error
    if args is not None and args.verbose + args.verbose_after > 1:
        traceback.print_exception(error)
    print(f"Error: {error}", file=sys.stderr)
    return error.exit_code


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """The signals of Ctrl-C so far: TVM makes a RuntimeError of the exception that one raises
    where C++ has called Python."""
    seen: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


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
