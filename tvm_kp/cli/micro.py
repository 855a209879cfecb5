"""``micro create|build|flash``: firmware projects, as microTVM's users know them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_kp.cli import console
from tvm_kp.cli.options import add_verb
from tvm_kp.errors import InputError, ModelError, TargetError
from tvm_kp.target import PLATFORMS, Target
from tvm_kp.target import names as target_names

if TYPE_CHECKING:
    from tvm_kp.board import Project

# step -> option -> what it does; --project-option takes these and no others.
OPTIONS = {
    "create": {"board": "the target of the project (the one the archive was compiled for)"},
    "build": {"profile": "1 counts every operator by itself, 0 does not (0)"},
    "flash": {},
}


def register(verbs: Any) -> None:
    """Add ``micro`` and its three steps to the parser's ``verbs``."""
    text = "create, build and flash a firmware project"
    parser = verbs.add_parser("micro", help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=run, step=None, parser=parser)
    steps = parser.add_subparsers(metavar="STEP", title="steps")
    create = _add_step(steps, "create", "write a project folder that plain make builds", _create)
    create.add_argument("PROJECT_DIR", type=Path, help="the folder to make")
    create.add_argument("MLF", type=Path, help="an archive of tvm-kp compile")
    create.add_argument("-f", "--force", action="store_true", help="replace an existing folder")
    build = _add_step(steps, "build", "build the firmware of a project folder", _build)
    build.add_argument("PROJECT_DIR", type=Path)
    flash = _add_step(steps, "flash", "put the firmware on the board", _flash)
    flash.add_argument("PROJECT_DIR", type=Path)
    for step in (create, build, flash):
        step.add_argument(
            "PLATFORM", choices=PLATFORMS, metavar="PLATFORM", help=" or ".join(PLATFORMS)
        )


def _add_step(steps: Any, name: str, text: str, run_step: Callable[..., int]) -> Any:
    parser = add_verb(steps, name, text, run)
    parser.set_defaults(step=run_step, step_name=name)
    parser.add_argument(
        "--project-option",
        nargs="+",
        action="extend",
        default=[],
        metavar="K=V",
        help="options of this step; --list-options has them",
    )
    parser.add_argument("--list-options", action="store_true", help="list the project options")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run one step, or list its options."""
    if args.step is None:
        args.parser.print_help(sys.stderr)
        return 1
    if args.list_options:
        return _list_options(args)
    args.options = _options(args)
    code: int = args.step(args)
    return code


def _create(args: argparse.Namespace) -> int:
    if not args.MLF.is_file():
        raise ModelError(f"no archive {args.MLF}: tvm-kp compile makes one")
    name = args.options.get("board")
    asked = None if name is None else Target.load(name)
    from tvm_kp import board, driver

    model = driver.load(args.MLF)
    target = Target.load(model.target) if asked is None else asked
    _check_platform(args, target)
    board.create(model, target, args.PROJECT_DIR, force=args.force)
    _say(f"Wrote {args.PROJECT_DIR} for {target.name}")
    return 0


def _build(args: argparse.Namespace) -> int:
    profile = args.options.get("profile", "0")
    if profile not in ("0", "1"):
        raise InputError(f"--project-option profile={profile}: 0 and 1 are possible")
    project = _open(args)
    from tvm_kp import board

    with console.progress(args, f"Building {args.PROJECT_DIR}"):
        firmware = board.build(project, profile=profile == "1")
    _say(f"Built {firmware}")
    return 0


def _flash(args: argparse.Namespace) -> int:
    target = _open(args).target
    where = "this computer" if target.runner.kind == "host" else f"QEMU's {target.runner.machine}"
    _say(
        f"Nothing to flash: {target.name} is {where}. "
        f"tvm-kp run {args.PROJECT_DIR} --device micro runs it."
    )
    return 0


def _open(args: argparse.Namespace) -> Project:
    if not args.PROJECT_DIR.is_dir():
        raise InputError(f"no project folder {args.PROJECT_DIR}: tvm-kp micro create makes one")
    from tvm_kp.board import Project

    project = Project.open(args.PROJECT_DIR)
    _check_platform(args, project.target)
    return project


def _check_platform(args: argparse.Namespace, target: Target) -> None:
    if target.platform != args.PLATFORM:
        fitting = [n for n in target_names() if Target.load(n).platform == args.PLATFORM]
        raise TargetError(
            f"{target.name} is of platform {target.platform}, not {args.PLATFORM}: give "
            f"{target.platform}, or create for another board ({', '.join(fitting)})"
        )


def _options(args: argparse.Namespace) -> dict[str, str]:
    known = OPTIONS[args.step_name]
    options: dict[str, str] = {}
    for text in args.project_option:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--project-option {text}: write it as NAME=VALUE")
        if name not in known:
            possible = f"there are {', '.join(known)}" if known else "there are none"
            raise InputError(f"micro {args.step_name} has no project option {name}; {possible}")
        options[name] = value
    return options


def _list_options(args: argparse.Namespace) -> int:
    known = OPTIONS[args.step_name]
    for name, text in known.items():
        _say(f"{name}=VALUE  {text}")
    if not known:
        _say(f"micro {args.step_name} has no project options")
    return 0


def _say(text: str) -> None:
    console.stdout().print(text, markup=False)
