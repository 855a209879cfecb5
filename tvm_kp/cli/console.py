"""What the commands print: tables on stdout, progress on stderr."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[str, float], None]
# Enough for the widest table: names must survive in a pipe or a log.
PIPE_WIDTH = 120


def stdout() -> Console:
    """A console that writes plain text of fixed width when stdout is not a terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def warn(text: str) -> None:
    """One line on stderr."""
    print(f"Warning: {text}", file=sys.stderr)


@contextmanager
def progress(args: argparse.Namespace, text: str) -> Iterator[Progress]:
    """Show that work goes on; gives the function that is told (stage, seconds).

    With ``-v`` a line a stage and the total, on a terminal otherwise a spinner, else nothing.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if args.verbose + args.verbose_after:
        started = time.perf_counter()
        yield lambda stage, seconds: console.print(_line(stage, seconds), markup=False)
        console.print(_line("total", time.perf_counter() - started), markup=False)
    elif console.is_terminal:
        with console.status(f"{text} …") as status:
            yield lambda stage, seconds: status.update(f"{text}: {stage} done …")
    else:
        yield lambda stage, seconds: None


def _line(stage: str, seconds: float) -> str:
    return f"{seconds:8.2f} s  {stage}"
