"""What the verbs share: the parser, targets in old and new spelling, types of values."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tvm_kp.errors import TargetError

# --target-<kind>-<attr>, which argparse cannot know beforehand.
TARGET_FLAG = re.compile(r"--target-([a-z]+)-([a-z-]+)(?:=(.*))?", re.DOTALL)
TARGET_KINDS = ("c", "llvm")
# Attributes that say nothing beyond the target's own file, with the values that agree with it.
AGREEING = {"device": {"arm_cpu"}, "keys": {"cpu", "arm_cpu", "arm_cpu,cpu", "cpu,arm_cpu"}}


class Parser(argparse.ArgumentParser):
    """Answers a wrong command line in one line instead of the whole usage."""

    def __init__(self, **settings: Any) -> None:
        # Abbreviated flags would change their meaning whenever a new flag is added.
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def add_verbose(parser: argparse.ArgumentParser, dest: str = "verbose") -> None:
    parser.add_argument(
        "-v",
        "--verbose",
        dest=dest,
        action="count",
        default=0,
        help="print each stage with its seconds; twice: tracebacks of errors too",
    )


def add_verb(verbs: Any, name: str, text: str, run: Callable[..., int]) -> Parser:
    """A subcommand that takes ``-v`` as well and runs ``run(args) -> exit code``."""
    parser: Parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    add_verbose(parser, "verbose_after")
    parser.set_defaults(run=run)
    return parser


def add_target(parser: argparse.ArgumentParser, text: str) -> None:
    group = parser.add_argument_group("target")
    group.add_argument("--target", metavar="NAME|FILE", help=text)
    group.add_argument(
        "--target-c-mcpu",
        "--target-llvm-mcpu",
        action="append",
        dest="target_attributes",
        metavar="CORE",
        help="the shipped target with this core: tvmc's way to say --target",
    )


def join_target_flags(arguments: Sequence[str]) -> list[str]:
    """``--target-c-mcpu X`` -> ``--target-c-mcpu=c-mcpu=X``: kind and attribute kept as values."""
    joined: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        match = TARGET_FLAG.fullmatch(argument)
        if match is None:
            joined.append(argument)
            continue
        kind, attribute, value = match.groups()
        value = next(rest, None) if value is None else value
        joined.append("--target-c-mcpu" + ("" if value is None else f"={kind}-{attribute}={value}"))
    return joined


def target_spec(args: argparse.Namespace) -> str | None:
    """What ``Target.load`` takes, from ``--target`` and ``--target-<kind>-<attr>``, or None."""
    values: dict[str, str] = {}
    for flag in args.target_attributes or ():
        name, _, value = flag.partition("=")
        kind, _, attribute = name.partition("-")
        _check_attribute(kind, attribute, value, args.target)
        values |= {"kind": kind, attribute: value}
    if "mcpu" not in values:
        return str(args.target) if args.target is not None else values.get("kind")
    return json.dumps({"kind": values["kind"], "mcpu": values["mcpu"]})


def _check_attribute(kind: str, attribute: str, value: str, target: str | None) -> None:
    flag = f"--target-{kind}-{attribute}"
    if kind not in TARGET_KINDS:
        raise TargetError(f"{flag}: there is no kind {kind} here, only c and llvm")
    if target not in (None, kind):
        raise TargetError(f"{flag} says nothing about --target {target}: give one of the two")
    if attribute == "mcpu" or value in AGREEING.get(attribute, ()):
        return
    raise TargetError(
        f"{flag}={value}: a target's file states this. See tvm-kp targets NAME, "
        "copy the file, change it and pass it as --target FILE"
    )


def only(value: str, instead: str) -> Callable[[str], str]:
    """The type of a flag of tvmc that has one value here; ``instead`` replaces the others."""

    def check(text: str) -> str:
        if text != value:
            raise argparse.ArgumentTypeError(f"{text} is not available, only {value}: {instead}")
        return text

    return check


def positive(text: str) -> int:
    """The type of a count: an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def seconds(text: str) -> float:
    """The type of a time-out: a positive, finite number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def address(text: str) -> str:
    """The type of a ``host:port``."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text} is not host:port, 127.0.0.1:9190 say")
    return text


def names(text: str) -> tuple[str, ...]:
    """The type of a comma list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
