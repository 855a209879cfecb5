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

    from tvm_kp.compress import Epoch

Progress = Callable[[str, float], None]
EpochProgress = Callable[[int, "Epoch"], None]
# Enough for the widest table: names must survive in a pipe or a log.
PIPE_WIDTH = 120


def stdout() -> Console:
    """A console that writes plain text of fixed width when stdout is not a terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def stderr() -> Console:
    """A console for what is not the result."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def warn(text: str) -> None:
    """One line on stderr."""
    print(f"Warning: {text}", file=sys.stderr)


@contextmanager
def progress(args: argparse.Namespace, text: str) -> Iterator[Progress]:
    """Show that work goes on; gives the function that is told (stage, seconds).

    With ``-v`` a line a stage and the total, on a terminal otherwise a spinner, else nothing.
    """
    console = stderr()
    if args.verbose + args.verbose_after:
        started = time.perf_counter()
        yield lambda stage, seconds: console.print(_line(stage, seconds), markup=False)
        console.print(_line("total", time.perf_counter() - started), markup=False)
    elif console.is_terminal:
        with console.status(f"{text} …") as status:
            yield lambda stage, seconds: status.update(f"{text}: {stage} done …")
    else:
        yield lambda stage, seconds: None


@contextmanager
def epochs(console: Console, title: str, count: int, every: int) -> Iterator[EpochProgress]:
    """Show how training goes on; gives the function that is told (number from 0, epoch).

    On a terminal a bar, elsewhere a line after ``every`` epochs and after the last of ``count``.
    """
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    def line(number: int, epoch: Epoch) -> str:
        return f"{title}: epoch {number + 1} of {count}, accuracy {epoch.accuracy:.1%}"

    def say(number: int, epoch: Epoch) -> None:
        if (number + 1) % every == 0 or number + 1 == count:
            console.print(line(number, epoch))

    if not console.is_terminal:
        yield say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(title, total=count)
        yield lambda number, epoch: bar.update(
            task, completed=number + 1, description=line(number, epoch)
        )


def _line(stage: str, seconds: float) -> str:
    return f"{seconds:8.2f} s  {stage}"
