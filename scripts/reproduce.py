"""The method's claims on real data: five benchmarks, compressed by every method.

Networks are trained, one process a core, compiled in float32 and int8, run on their test samples
in C, and measured on an emulated board. What is done is kept: the same command goes on where it
was stopped. A network other than the dense one also learns the scores of dense ones.

``results.json`` in the output folder has date, command, target and networks: objects with the keys
benchmark, data, method, form, seeds, parameters (of the recurrent layer), compression, accuracies
(PyTorch's, one a seed), seconds (of training), history (loss and accuracy by epoch of the first
seed), and for float32 and int8 accuracies (of the C), instructions, flash_bytes, code_bytes,
tables_bytes, weights_bytes, ram_bytes, rnn_bytes (weights and biases of the recurrent layer),
compression (of the dense layer's rnn_bytes in float32) and structures (what the compiler found).
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import datasets
import readme
from benchmarks import BENCHMARKS, METHODS
from comparison import accuracy_chart, table, training_chart
from firmware import FORMATS, measure, measured, save
from processes import finished
from rich.console import Console
from trainings import Job, train

import tvm_kp
from tvm_kp.cli import output
from tvm_kp.cli.options import names, positive
from tvm_kp.errors import InputError, OutputError, TargetError, TvmKpError

TABLE_WIDTH = 180  # its columns would be folded in less


def main(argv: Sequence[str] | None = None) -> int:
    """Train, measure, write; returns the exit code."""
    args = _parse(argv)
    try:
        jobs = _jobs(args)
        with _alone(args.output):
            _reproduce(args, jobs)
    except TvmKpError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted: the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def _reproduce(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    # What the others learn from comes first, also if it is not asked for.
    every = list(dict.fromkeys([*jobs, *(dense for job in jobs for dense in job.teachers)]))
    for first in (True, False):
        wave = [job for job in every if (job.method == "dense") == first]
        _all(args, "Training", train, [job for job in wave if job.result() is None], every)
    measuring = [job for job in jobs if measured(job, args.target) is None]
    _all(args, "Measuring", partial(_measure, args), measuring, jobs)
    _write(args, _rows(args, jobs))
    if args.networks is not None:
        for job in jobs:
            if (job.method, job.seed) == ("kronecker", 0):
                save(job, args.networks)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second run from training what this one trains."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another scripts/reproduce is at work in {folder}; give another --output"
            raise OutputError(message) from error
        yield


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about = "Train the paper's benchmarks by every method, and measure them on an emulated board."
    parser = argparse.ArgumentParser(prog="scripts/reproduce", description=about)
    where = "folder of the data sets, each in a subfolder (%(default)s)"
    parser.add_argument("--data", type=Path, default="../shared/data", help=where)
    fetch = "fetch what the folder lacks of MNIST; scripts/datasets.py describes the other sets"
    parser.add_argument("--download", action="store_true", help=fetch)
    parser.add_argument("--output", type=Path, help="folder (out/reproduce, or out/quick)")
    for flag, every in (("--benchmarks", tuple(BENCHMARKS)), ("--methods", METHODS)):
        parser.add_argument(flag, type=names, default=every, help=f"of {','.join(every)} (all)")
    seeds = ", ".join(f"{one.seeds} for {name}" for name, one in BENCHMARKS.items())
    parser.add_argument("--seeds", type=positive, help=f"how many ({seeds})")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=positive, default=cores, help="processes (%(default)s)")
    parser.add_argument("--target", default="mps2-an386", help="board (%(default)s)")
    quick = "few samples, two epochs, one seed: whether everything works, no result"
    parser.add_argument("--quick", action="store_true", help=quick)
    folder = "folder to write the Kronecker networks to as .pt2, with calibration inputs"
    parser.add_argument("--networks", type=Path, metavar="DIR", help=folder)
    parser.add_argument("--readme", action="store_true", help="rewrite the table in README.md")
    args = parser.parse_args(argv)
    args.output = args.output or Path("out") / ("quick" if args.quick else "reproduce")
    args.command = shlex.join(["scripts/reproduce", *(sys.argv[1:] if argv is None else argv)])
    return args


def _jobs(args: argparse.Namespace) -> list[Job]:
    """All networks asked for, in the table's order, once their data is there."""
    for flag, known in (("benchmarks", tuple(BENCHMARKS)), ("methods", METHODS)):
        for name in getattr(args, flag):
            if name not in known:
                raise InputError(f"--{flag}: no {name}; there are {', '.join(known)}")
    if "dense" not in args.methods:
        raise InputError("--methods: the others learn from dense and are compared with it; add it")
    if args.readme and args.quick:
        raise InputError("--quick gives no results for README.md: leave one of them out")
    if tvm_kp.Target.load(args.target).runner.kind == "host":
        raise TargetError(f"{args.target} counts no instructions; give a board: tvm-kp targets")
    output.check_folder(args.output)
    if args.networks is not None:
        output.check_folder(args.networks)
        args.networks.mkdir(parents=True, exist_ok=True)
    if args.download:
        datasets.download(args.data)
    jobs = []
    for name in args.benchmarks:
        BENCHMARKS[name].load(args.data)
        (args.output / name).mkdir(parents=True, exist_ok=True)
        for method in (one for one in args.methods if one in BENCHMARKS[name].methods):
            for seed in range(1 if args.quick else args.seeds or BENCHMARKS[name].seeds):
                jobs.append(Job(name, method, seed, args.output, args.data, args.quick))
    return jobs


def _measure(args: argparse.Namespace, job: Job) -> None:
    measure(job, args.target, on_board=job.seed == 0)


def _all(
    args: argparse.Namespace,
    what: str,
    work: Callable[[Job], None],
    jobs: Sequence[Job],
    every: Sequence[Job],
) -> None:
    """``work`` on all of ``jobs``, a line for each that is done."""
    begin, left = perf_counter(), dict.fromkeys(jobs)
    for done, job in enumerate(finished(min(args.jobs, len(jobs)), work, jobs), 1):
        del left[job]
        each = (perf_counter() - begin) * args.jobs / done
        seconds = _seconds_left(list(left), every if what == "Training" else (), each)
        print(
            f"{what} {done} of {len(jobs)}: {job.benchmark} {job.method}, seed {job.seed}, "
            f"{(job.result() or {})['accuracy']:.1%}; "
            f"about {seconds / args.jobs / 60:.0f} min left",
            flush=True,
        )


def _seconds_left(left: Sequence[Job], trained: Sequence[Job], each: float) -> float:
    """Of one process: by the epochs ``trained`` for the same benchmark, else ``each`` a job."""
    taken: dict[str, list[float]] = {}
    for job in trained:
        if found := job.result():
            taken.setdefault(job.benchmark, []).append(found["seconds"] / job.recipe.epochs)
    return sum(
        mean(taken[job.benchmark]) * job.recipe.epochs if job.benchmark in taken else each
        for job in left
    )


def _rows(args: argparse.Namespace, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """One for every benchmark and method: what its seeds came to."""
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.benchmark, job.method), []).append(job)
    rows = [_row(seeds, args.target) for seeds in groups.values()]
    dense = {row["benchmark"]: row for row in rows if row["method"] == "dense"}
    for row in rows:
        whole = dense[row["benchmark"]]
        row["compression"] = whole["parameters"] / row["parameters"]
        for form in FORMATS:
            row[form]["compression"] = whole["float32"]["rnn_bytes"] / row[form]["rnn_bytes"]
    return rows


def _row(seeds: Sequence[Job], target: str) -> dict[str, Any]:
    trained = [found for job in seeds if (found := job.result())]
    compiled = [found for job in seeds if (found := measured(job, target))]
    row = {
        "benchmark": seeds[0].benchmark,
        "data": seeds[0].of.note,
        "method": seeds[0].method,
        "form": trained[0]["settings"]["form"],
        "seeds": len(seeds),
        "parameters": trained[0]["numbers"],
        "accuracies": [found["accuracy"] for found in trained],
        "seconds": [found["seconds"] for found in trained],
        "history": trained[0]["history"],
    }
    for form in FORMATS:
        row[form] = {
            **compiled[0][form],
            "accuracies": [found[form]["accuracy"] for found in compiled],
        }
    return row


def _write(args: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> None:
    date = datetime.date.today().isoformat()
    seeds = ", ".join(f"{r['seeds']} for {r['benchmark']}" for r in rows if r["method"] == "dense")
    data = " ".join(f"{name}: {BENCHMARKS[name].note}." for name in args.benchmarks)
    note = f"Data: {data} Seeds: {seeds}. {date}, {args.command}"
    shown = table(rows, args.target, note)
    text = f"{shown.title}:\n\n{shown.to_markdown()}\n\n{shown.note}\n"
    results = {"date": date, "command": args.command, "target": args.target, "networks": rows}
    output.write_json(args.output / "results.json", results)
    output.write(args.output / "results.md", text)
    output.write(args.output / "accuracy.svg", accuracy_chart(rows))
    output.write(args.output / "training.svg", training_chart(rows))
    if args.readme:
        readme.rewrite("reproduce", text)
    Console(width=TABLE_WIDTH, highlight=False).print(shown)
    print(f"Wrote results.json, results.md, accuracy.svg and training.svg to {args.output}")


if __name__ == "__main__":
    sys.exit(main())
