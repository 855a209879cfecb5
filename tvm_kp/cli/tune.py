"""``tune FILE -o RECORDS``: measure ways to schedule a model's kernels on its board."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_kp import tuning_records
from tvm_kp.cli import console, model_flags, output, tvmc_flags
from tvm_kp.cli.options import add_verb, address, positive, seconds
from tvm_kp.errors import InputError
from tvm_kp.target import Target, at_port, check_counts, is_attached

if TYPE_CHECKING:
    from tvm_kp.tuning import Session, Task
    from tvm_kp.tuning.session import Told

TUNERS = ("xgb", "random", "grid")
TRIALS, TIMEOUT_S = 1000, 60.0
_TASKS = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")


def register(verbs: Any) -> None:
    """Add ``tune`` to the parser's ``verbs``."""
    parser = add_verb(verbs, "tune", "find faster schedules by measuring on the board", run)
    model_flags.add_model(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="RECORDS",
        help="file that records are appended to, for compile --tuning-records; what it has is not "
        "measured again",
    )
    group = parser.add_argument_group("search")
    group.add_argument(
        "--tasks",
        type=_tasks,
        default="all",
        metavar="list|all|0,2-5",
        help="kernels to tune; list: print them with their numbers and end (%(default)s)",
    )
    group.add_argument(
        "--trials",
        type=positive,
        default=TRIALS,
        metavar="N",
        help="candidates to measure, of all kernels together; each default is measured in any case "
        "(%(default)s)",
    )
    group.add_argument(
        "--early-stopping",
        type=positive,
        metavar="N",
        help="leave a kernel after N candidates of which none was better",
    )
    group.add_argument(
        "--objective",
        choices=tuning_records.OBJECTIVES,
        help="what is made small: instructions, counted in the emulator, or cycles, measured on an "
        "attached board, and for emulated Cortex-M3 and M4 estimated from what is executed (what "
        "the board counts)",
    )
    group.add_argument(
        "--tuner",
        choices=TUNERS,
        default="xgb",
        help="xgb: MetaSchedule's evolutionary search with a cost model; random; grid: one after "
        "the other (%(default)s)",
    )
    group.add_argument(
        "--tuning-records",
        type=Path,
        metavar="FILE",
        help="records of another session: they are copied, not measured again",
    )
    group.add_argument(
        "--parallel",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="candidates that are built, and boards that are emulated, at once (%(default)s)",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT_S,
        metavar="S",
        help="seconds for building one candidate (%(default)g)",
    )
    group.add_argument(
        "--port",
        metavar="PORT",
        help="serial port of an attached board, such as /dev/ttyACM0 or socket://host:port (that "
        "of its USB device); it is flashed once a batch of candidates",
    )
    farm = parser.add_argument_group("boards on many machines: see board-server")
    farm.add_argument(
        "--rpc-tracker", type=address, metavar="HOST:PORT", help="TVM's RPC tracker that has them"
    )
    farm.add_argument("--rpc-key", metavar="KEY", help="which of its boards to use, all at once")
    tvmc_flags.add_replaced(parser, tvmc_flags.TUNE)
    files = parser.add_argument_group("more outputs")
    files.add_argument("--report", type=Path, metavar="FILE", help="results and curves as HTML")


def run(args: argparse.Namespace) -> int:
    """Tune, and print what came of it."""
    target = at_port(model_flags.load_target(args), args.port)
    _check(args, target)
    model_flags.check(args)
    tasks = _tasks_of(args, target)
    from tvm_kp import report

    if args.tasks == "list":
        console.stdout().print(report.task_table(tasks))
        return 0
    session = _tune(args, target, _chosen(tasks, args.tasks))
    about = f"{args.FILE.name} on {target.name}: {session.trials} candidates in " + (
        f"{session.seconds:.0f} s, {_rate(session):.1f} a second{_flashes(session)}"
    )
    measured = session.objective, tuning_records.board_of(target)
    out = console.stdout()
    out.print(report.tuning_table(session.progress, *measured))
    out.print(about, markup=False)
    if args.report is not None:
        sections = report.tuning_sections(session.progress, about, *measured)
        output.write(args.report, report.html(sections, "tvm_kp tuning"))
    for path in (args.output, args.report):
        if path is not None:
            out.print(f"Wrote {path}", markup=False, highlight=False)
    hint = f"Use them with: tvm-kp compile {args.FILE} --tuning-records {args.output} …"
    out.print(hint, markup=False, soft_wrap=True)
    return 0


def _check(args: argparse.Namespace, target: Target) -> None:
    check_counts(target, "tune for a board")
    objective = tuning_records.objective_of(target, args.objective)
    if objective == tuning_records.CYCLES and not is_attached(target):
        from tvm_kp.board import check_cycles

        check_cycles(target)
    if (args.rpc_tracker is None) != (args.rpc_key is None):
        raise InputError("--rpc-tracker and --rpc-key are of use together: give both")
    if args.rpc_tracker is not None and args.port is not None:
        raise InputError("--port is of a board here, --rpc-tracker has others: give one of them")
    if args.tasks == "list":
        return
    if args.output is None:
        raise InputError("give -o RECORDS, the file for what is measured (or --tasks list)")
    for path in (args.output, args.report):
        if path is not None:
            output.check_file(path)
    if args.tuning_records is not None:
        tuning_records.read(args.tuning_records)
    if args.output.exists():
        damaged = tuning_records.read(args.output).damaged
        if damaged:
            console.warn(
                f"{len(damaged)} damaged lines of {args.output} are moved to "
                f"{args.output.name}.damaged; the others are kept"
            )


def _tasks_of(args: argparse.Namespace, target: Target) -> list[Task]:
    with console.progress(args, f"Looking at {args.FILE.name}") as progress:
        from tvm_kp import tuning

        options = model_flags.options(args)
        return tuning.tasks(args.FILE, target, options=options, progress=progress)


def _tune(args: argparse.Namespace, target: Target, tasks: Sequence[Task]) -> Session:
    from tvm_kp import tuning

    settings = tuning.Settings(
        args.trials, args.early_stopping, args.parallel, args.timeout, args.objective
    )
    with _watched(target) as told:
        return tuning.tune_tasks(
            tasks,
            target,
            args.output,
            tuner=args.tuner,
            start_from=args.tuning_records,
            settings=settings,
            tracker=args.rpc_tracker,
            key=args.rpc_key or "",
            told=told,
        )


@contextmanager
def _watched(target: Target) -> Iterator[Told]:
    """On a terminal a table that changes, elsewhere a line after every batch."""
    from tvm_kp import report

    screen = console.stderr()
    if not screen.is_terminal:
        yield lambda session: print(_line(session), file=screen.file, flush=True)
        return
    from rich.console import Group
    from rich.live import Live

    board = tuning_records.board_of(target)
    with Live(console=screen, transient=True) as live:
        yield lambda session: live.update(
            Group(report.tuning_table(session.progress, session.objective, board), _line(session))
        )


def _line(session: Session) -> str:
    """Where a session stands, and at most how long it still takes."""
    from tvm_kp import report

    before, after = report.totals(session.progress)
    untried = sum(len(p.task.ways) - p.tried for p in session.progress)
    left = min(session.settings.trials - session.trials, untried)
    rate = _rate(session)
    soon = f"at most {left / rate:.0f} s left" if rate else "starting"
    return (
        f"{session.trials} candidates, {rate:.1f} a second; kernels of an inference "
        f"{before:,.0f} → {after:,.0f} {session.objective}; {soon}{_flashes(session)}"
    )


def _flashes(session: Session) -> str:
    """How often a board was flashed: that takes its time, and wears the flash out."""
    return f"; flashed {session.flashes} times" if session.flashes else ""


def _rate(session: Session) -> float:
    return session.trials / session.seconds if session.seconds else 0.0


def _tasks(text: str) -> str:
    if text not in ("list", "all") and not _TASKS.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text} is not list, all, or numbers like 0,2-5")
    return text


def _chosen(tasks: Sequence[Task], text: str) -> list[Task]:
    """The tasks of ``--tasks``; raises ``InputError`` for a number that none has."""
    if text == "all":
        return list(tasks)
    numbers: dict[int, None] = {}
    for part in text.split(","):
        first, last = (int(end) for end in (part.split("-") * 2)[:2])
        if max(first, last) >= len(tasks):
            raise InputError(
                f"there is no task {max(first, last)}; the model has 0 to {len(tasks) - 1}: "
                "see --tasks list"
            )
        numbers.update(dict.fromkeys(range(min(first, last), max(first, last) + 1)))
    return [tasks[number] for number in numbers]
