"""``micro create|build|flash|server``: firmware projects, as microTVM's users know them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tvm_kp.cli import console, project_options, project_server, projects
from tvm_kp.cli.options import add_verb
from tvm_kp.errors import InputError
from tvm_kp.target import LIBRARY_PLATFORMS, PLATFORMS

PLATFORM_HELP = (
    f"{', '.join(PLATFORMS)}: a firmware; {', '.join(LIBRARY_PLATFORMS)}: a library; or a folder "
    "whose files are copied, in those that end in .in @KEYS@ are filled (--list-options has them)"
)


def register(verbs: Any) -> None:
    """Add ``micro`` and its steps to the parser's ``verbs``."""
    text = "create, build and flash a firmware project"
    parser = verbs.add_parser("micro", help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=run, step=None, parser=parser)
    steps = parser.add_subparsers(metavar="STEP", title="steps")
    text = "write a project folder that builds without tvm-kp"
    for name in ("create", "create-project"):
        create = _add_step(steps, name, text, _create, "replace an existing project")
        create.add_argument("MLF", type=Path, help="an archive of tvm-kp compile")
        create.add_argument("PLATFORM", help=PLATFORM_HELP)
    for name, text, step in (
        ("build", "build the firmware of a project folder", _build),
        ("flash", "put the firmware on the board", _flash),
    ):
        parser = _add_step(steps, name, text, step, "accepted as tvmc had it: nothing refuses here")
        parser.add_argument("PLATFORM", help=PLATFORM_HELP)
    project_server.register(steps)


def _add_step(
    steps: Any, name: str, text: str, run_step: Callable[..., str], force: str
) -> argparse.ArgumentParser:
    parser = add_verb(steps, name, text, run)
    parser.set_defaults(step=run_step)
    parser.add_argument("PROJECT_DIR", type=Path, help="the project's folder")
    parser.add_argument("-f", "--force", action="store_true", help=force)
    parser.add_argument(
        "--template-dir", metavar="DIR", help="the folder of PLATFORM template: tvmc's spelling"
    )
    parser.add_argument(
        "--project-option",
        nargs="+",
        action="extend",
        default=[],
        metavar="K=V",
        help="options of the step; --list-options has them",
    )
    parser.add_argument("--list-options", action="store_true", help="list the project options")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run one step, or list its options."""
    if args.step is None:
        args.parser.print_help(sys.stderr)
        return 1
    platform = projects.find_platform(args.PLATFORM, args.template_dir)
    if args.list_options:
        return _list_options(platform)
    text = args.step(args, platform, _given(args.project_option))
    console.stdout().print(text, markup=False, soft_wrap=True)
    return 0


def _create(args: argparse.Namespace, platform: str | Path, given: dict[str, str]) -> str:
    return projects.create(args.MLF, platform, args.PROJECT_DIR, given, args.force)


def _build(args: argparse.Namespace, platform: str | Path, given: dict[str, str]) -> str:
    with console.progress(args, f"Building {args.PROJECT_DIR}"):
        return projects.build(args.PROJECT_DIR, platform, given)


def _flash(args: argparse.Namespace, platform: str | Path, given: dict[str, str]) -> str:
    return projects.flash(args.PROJECT_DIR, platform, given)


def _given(texts: list[str]) -> dict[str, str]:
    """``NAME=VALUE`` of the command line as a mapping."""
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--project-option {text}: write it as NAME=VALUE")
        given[name] = value
    return given


def _list_options(platform: str | Path) -> int:
    from tvm_kp import report
    from tvm_kp.board.template_keys import KEYS

    rows = [
        (
            option.name,
            option.type,
            " ".join(option.choices or ("–",)),
            "–" if option.default is None else str(option.default),
            ", ".join(option.steps),
            option.help,
        )
        for option in project_options.options_of(platform)
    ]
    columns = ("name", "type", "choices", "default", "steps", "help")
    note = "No step needs one. Write them as --project-option NAME=VALUE …"
    out = console.stdout()
    out.print(report.Table(f"Project options of {platform}", columns, tuple(rows), note))
    if platform not in (*PLATFORMS, *LIBRARY_PLATFORMS):
        keys = tuple((f"@{key}@", text) for key, text in KEYS.items())
        out.print(report.Table("Keys of templates", ("key", "what it stands for"), keys))
    return 0
