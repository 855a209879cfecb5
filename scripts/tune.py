"""Tune the kernels of the paper's workloads, and write the records that come with tvm_kp.

All that is measured goes to ``--output``, where a session that was cut off goes on. The best ways
for products go to schedules/records/<core>.jsonl, which ``compile`` reads: those that gain what is
``WORTH`` their code, but none that takes much flash. Point-wise kernels gain little for a lot of
flash, and how fast they are depends on which of their operands share memory in a model.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import readme
from floors import floor
from workloads import WORKLOADS, sample

from tvm_kp import Options, Target, report, tuning, tuning_records
from tvm_kp.cli import console
from tvm_kp.cli.options import names, positive
from tvm_kp.errors import InputError, TvmKpError
from tvm_kp.tuning.session import Progress
from tvm_kp.tuning_records import Record

BOARDS = ("mps2-an386", "mps2-an500", "mps3-an547")
TOGETHER = "float32", "int8"  # formats that have means of their own
FORMATS, WEIGHTS = ("float32", "int16x8", "int8"), ("dense", "factored")
SHIPPED = Path(__file__).parent.parent / "schedules" / "records"
TRIALS = 1000  # of a network
# The speed-up from which on what is written out is worth its flash: floats write out more.
WORTH = {"integers": 1.02, "floats": 1.08}
# A way that costs up to NEAR times as much as another is as good; what is written out more than
# COSTLY times takes flash.
NEAR, COSTLY = 1.01, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Tune, write the records, print what they gain."""
    args = _parse(argv)
    try:
        _check(args)
        args.output.mkdir(parents=True, exist_ok=True)
        rows = list(_rows(args))
    except TvmKpError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    for core in sorted({Target.load(board).core for board in args.boards}):
        _ship(args.output / f"{core}.jsonl", SHIPPED / f"{core}.jsonl", rows)
    tables = whole_table(rows), kernel_table(rows)
    console.stdout().print(*tables, sep="\n")
    if args.readme:
        readme.rewrite("tune", "\n".join(f"{t.title}:\n\n{t.to_markdown()}\n" for t in tables))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about = "Tune the paper's workloads on emulated boards."
    parser = argparse.ArgumentParser(prog="scripts/tune", description=about)
    for flag, all_of in (
        ("--workloads", tuple(WORKLOADS)),
        ("--weights", WEIGHTS),
        ("--formats", FORMATS),
        ("--boards", BOARDS),
    ):
        parser.add_argument(flag, type=names, default=all_of, help=f"of {','.join(all_of)} (all)")
    parser.add_argument("--trials", type=positive, default=TRIALS, help="a network (%(default)s)")
    folder = "folder of all that is measured (%(default)s)"
    parser.add_argument("--output", type=Path, default=Path("out/tune"), help=folder)
    parser.add_argument("--readme", action="store_true", help="rewrite the tables in README.md")
    return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> None:
    for given, known in (
        (args.workloads, WORKLOADS),
        (args.weights, WEIGHTS),
        (args.formats, FORMATS),
        (args.boards, BOARDS),
    ):
        if unknown := [name for name in given if name not in known]:
            raise InputError(f"no {unknown[0]} here; there are {', '.join(known)}")
    everything = tuple(WORKLOADS), WEIGHTS, FORMATS, BOARDS
    if args.readme and (args.workloads, args.weights, args.formats, args.boards) != everything:
        raise InputError("--readme takes everything: leave the filters out")


def _rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What each network gains, and its kernels one by one."""
    for name in args.workloads:
        taken = sample(WORKLOADS[name])
        for form, weights, board in itertools.product(args.formats, args.weights, args.boards):
            calibration = {"x": taken.calibration}
            options = Options(factorize=weights == "factored")
            if form != "float32":
                options = Options(
                    factorize=weights == "factored", quantize=form, calibration=calibration
                )
            path = args.output / f"{Target.load(board).core}.jsonl"
            settings = tuning.Settings(trials=args.trials, parallel=os.cpu_count() or 1)
            session = tuning.tune(taken.program, board, path, options=options, settings=settings)
            before, after = report.totals(session.progress)
            print(
                f"{name} {weights} {form} on {board}: {before:,.0f} → {after:,.0f} instructions, "
                f"{session.trials} candidates in {session.seconds:.0f} s",
                file=sys.stderr,
            )
            yield {
                "workload": name,
                "weights": weights,
                "format": form,
                "board": board,
                "kernels": session.progress,
            }


def whole_table(rows: Sequence[dict[str, Any]]) -> report.Table:
    """The kernels of an inference, by default and tuned; a column a board."""
    boards = tuple(dict.fromkeys(row["board"] for row in rows))
    lines = []
    for key in dict.fromkeys((r["workload"], r["weights"], r["format"]) for r in rows):
        mine = {r["board"]: report.totals(r["kernels"]) for r in rows if _key(r) == key}
        cells = (_gain(*mine[board]) if board in mine else "" for board in boards)
        lines.append((*key, *cells))
    note = "Sums over the kernels, calls counted. " + report.COUNTED
    title = "Instructions of an inference, by default → tuned"
    return report.Table(title, ("workload", "weights", "format", *boards), tuple(lines), note)


def kernel_table(rows: Sequence[dict[str, Any]]) -> report.Table:
    """The geometric mean of the products' speed-ups, by board, weights and format, and what they
    cost over their counted floors."""
    lines = []
    for board, weights in dict.fromkeys((r["board"], r["weights"]) for r in rows):
        mine = [r for r in rows if (r["board"], r["weights"]) == (board, weights)]
        formats = [(form,) for form in dict.fromkeys(r["format"] for r in mine)]
        together = [TOGETHER] if {(form,) for form in TOGETHER} <= set(formats) else []
        for some in (*formats, *together):
            costs = _costs((r for r in mine if r["format"] in some), board)
            lines.append((board, weights, " and ".join(some), *_means(costs)))
    columns = (
        *("board", "weights", "format", "products", "speed-up"),
        *("default / floor", "tuned / floor", "largest speed-up", "slower"),
    )
    return report.Table("Products, geometric means", columns, tuple(lines))


def _costs(rows: Iterable[dict[str, Any]], board: str) -> list[tuple[float, float, float]]:
    """What products cost by default, tuned and at least; those that are equal are one."""
    kernels = {p.task.key: p for row in rows for p in row["kernels"] if is_product(p)}
    isa = Target.load(board).isa
    return [(p.default, p.best, _floor(p, isa)) for p in kernels.values() if p.default and p.best]


def _means(costs: Sequence[tuple[float, float, float]]) -> tuple[float, ...]:
    """How many they are, means of their ratios, the largest gain, and how many are slower."""
    gains = [default / best for default, best, _ in costs]
    over = [default / least for default, _, least in costs]
    tuned = [best / least for _, best, least in costs]
    means = (round(geometric_mean(each), 3) for each in (gains, over, tuned))
    return len(gains), *means, round(max(gains), 3), sum(gain < 1 for gain in gains)


def _floor(progress: Progress, isa: Sequence[str]) -> float:
    least = floor(progress.task.function, isa, progress.task.joined)
    assert least is not None, f"{progress.task.label} is a product that has no floor"
    return least


def is_product(progress: Progress) -> bool:
    """Whether a kernel multiplies matrices."""
    return "matmul" in progress.task.label.partition(":")[0]


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["workload"], row["weights"], row["format"]


def _gain(before: float, after: float) -> str:
    return f"{before:,.0f} → {after:,.0f} ({before / after:.2f}×)" if after else ""


def _ship(measured: Path, shipped: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write records of kernels for which they are worth it: of the best the shortest, in an order
    that is always the same."""
    import tvm

    core = measured.stem
    small = [one for one in tuning_records.read(measured).records if not is_costly(one)]
    least = tuning_records.best(small, core, tvm.__version__).records
    near = [one for one in small if _is_near(one, least)]
    # Of ways that are about as fast the shortest: the last one of a key is taken.
    near.sort(key=lambda one: (-written(one), -(one.cost or 0)))
    best = {one.key: one for one in near}
    kernels = {
        p.task.key: p
        for row in rows
        if Target.load(row["board"]).core == core
        for p in row["kernels"]
    }
    records = [best[key] for key, p in kernels.items() if key in best and is_worth_it(p, best[key])]
    shipped.parent.mkdir(exist_ok=True)
    tuning_records.write(shipped, sorted(records, key=lambda record: (record.label, record.key)))
    print(f"Wrote {shipped} ({len(records)} kernels)", file=sys.stderr)


def _is_near(record: Record, least: Mapping[str, Record]) -> bool:
    """Whether a way costs about as little as the least."""
    best = least.get(record.key)
    if best is None or record.cost is None or best.cost is None:
        return False
    alike = all(getattr(record, name) == getattr(best, name) for name in ("tvm", "rule", "version"))
    return alike and record.cost <= NEAR * best.cost


def is_costly(record: Record) -> bool:
    """Whether a way takes much flash: for weights of twice the bytes, or what is written out."""
    return record.choices.get("weights") == "stored" or written(record) > COSTLY


def written(record: Record) -> int:
    """How often what loops go around is written out in them."""
    return math.prod(int(record.choices.get(name, 1)) for name in ("trip", "across", "blocks"))


def is_worth_it(progress: Progress, record: Record) -> bool:
    """Whether a way for a kernel comes with tvm_kp."""
    gain = (progress.default or 0) / (record.cost or math.inf)
    kind = "integers" if progress.task.label.startswith("integer") else "floats"
    return is_product(progress) and gain >= WORTH[kind]


if __name__ == "__main__":
    sys.exit(main())
