"""Flags of tvmc that have no use here: each is answered by what replaces it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NoReturn

COMPILE = {
    "--cross-compiler": "the target's file names the compiler; see tvm-kp targets NAME",
    "--cross-compiler-options": "the target's file has the flags; see tvm-kp targets NAME",
    "--dump-code": "--dump DIR writes the module after every pass, and the archive has the C",
    "--input-shapes": "an exported program has its shapes: export it with inputs of these",
    "--print-ir-after": "--dump DIR writes the module after every pass",
    "--print-ir-before": "--dump DIR writes the module after every pass",
    "--print-pass-times": "-v prints the seconds of every stage",
}
RUN = {
    "--list-options": "running has none; tvm-kp micro create … --list-options has the project's",
    "--number": "a count is exact, and --repeat N runs the host N times",
    "--project-option": "a project has its options from tvm-kp micro create and build",
    "--rpc-key": "tvm-kp tune uses boards of other machines",
    "--rpc-tracker": "tvm-kp tune uses boards of other machines",
}
TUNE = {
    "--enable-autoscheduler": "the search is MetaSchedule's; leave the flag out",
    "--number": "a board that counts needs one run",
    "--repeat": "a board that counts needs one run",
}


def add_replaced(parser: argparse.ArgumentParser, flags: Mapping[str, str]) -> None:
    """Make ``parser`` answer each of ``flags`` by its text; --help does not show them."""
    for flag, instead in flags.items():
        parser.add_argument(
            flag, nargs="?", action=_Replaced, const=instead, help=argparse.SUPPRESS
        )


class _Replaced(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        parser.error(f"there is no {self.option_strings[0]} here: {self.const}")
