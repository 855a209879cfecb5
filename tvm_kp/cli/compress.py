"""``compress MODEL``: a PyTorch model gets structured weights, is trained on and exported."""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_kp.cli import console, output
from tvm_kp.cli.compress_flags import BATCH, EPOCHS, RATE, add_flags
from tvm_kp.cli.options import add_verb
from tvm_kp.errors import InputError, OutputError

if TYPE_CHECKING:
    from tvm_kp.compress import Plan
    from tvm_kp.compress.samples import Samples

HELD_OUT = 0.1  # of the samples, without --test
LINES = 10  # epochs from one line to the next where there is no terminal


@dataclass(frozen=True)
class _Data:
    """What is trained with, what accuracies are measured on, and what that is called."""

    train: Samples
    test: Samples
    tested: str


def register(verbs: Any) -> None:
    """Add ``compress`` to the parser's ``verbs``."""
    add_flags(
        add_verb(verbs, "compress", "compress a PyTorch model to a size and train it on", run)
    )


def run(args: argparse.Namespace) -> int:
    """Plan, train, export; print the plan and what it comes to."""
    _check_flags(args)
    if args.dry_run:
        model, plan = _planned(args)
        console.stdout().print(_apply(args, model, plan))
        return 0
    _check_outputs(args)
    data = _data(args)
    model, plan = _planned(args)
    if data is None:
        _compress(args, model, plan)
    else:
        _compress_and_train(args, model, plan, data)
    return 0


def _check_flags(args: argparse.Namespace) -> None:
    if args.data is not None:
        if args.example_shape is not None:
            raise InputError("--example-shape is for models without data: --data has the shape")
        return
    for flag in ("test", "epochs", "lr", "batch_size", "no_distill", "checkpoint"):
        if getattr(args, flag):
            flag = flag.replace("_", "-")
            raise InputError(f"--{flag} is for training: give --data TRAIN.npz too")
    if args.start == "random":
        raise InputError("random weights need training: give --data TRAIN.npz, or leave --start")
    if args.example_shape is None and not args.dry_run:
        raise InputError(
            "give --data TRAIN.npz to train with, or --example-shape, the shape of the input for "
            "one sample, for example 1,28,28"
        )


def _check_outputs(args: argparse.Namespace) -> None:
    read = [Path(args.MODEL.rpartition(":")[0]), args.weights, args.data, args.test]
    taken = {path.resolve() for path in read if path is not None}
    for path in (args.output, _checkpoint(args)):
        output.check_file(path)
        if path.resolve() in taken:
            raise OutputError(f"{path} is used by this command already: write to another file")
        taken.add(path.resolve())


def _checkpoint(args: argparse.Namespace) -> Path:
    beside: Path = args.output.with_name(args.output.name + ".checkpoint")
    return beside if args.checkpoint is None else args.checkpoint


def _data(args: argparse.Namespace) -> _Data | None:
    if args.data is None:
        return None
    from tvm_kp.cli.inputs import read_npz
    from tvm_kp.compress.samples import samples

    given = samples(read_npz(args.data), args.data)
    if args.test is not None:
        test = samples(read_npz(args.test), args.test)
        return _Data(given, test, f"{len(test):,} samples of {args.test.name}")
    if len(given) < 2:
        raise InputError(f"{args.data} has one sample: give one to train with and one to test at")
    train, test = given.split(max(1, round(HELD_OUT * len(given))), args.seed)
    return _Data(train, test, f"{len(test):,} held-out samples")


def _planned(args: argparse.Namespace) -> tuple[Any, Plan]:
    """The model, an ``nn.Module``, and its plan."""
    with console.progress(args, f"Planning {args.MODEL}") as progress:
        started = time.perf_counter()
        from tvm_kp import compress
        from tvm_kp.compress.load import load_model

        model = load_model(args.MODEL, args.weights, args.seed)
        loaded = time.perf_counter()
        progress("load", loaded - started)
        plan = compress.plan(
            model,
            budget=args.budget,
            factor=args.factor,
            objective=args.objective,
            rule=args.rule,
            layers=args.layers,
            bits=args.bits,
        )
        progress("plan", time.perf_counter() - loaded)
    return model, plan


def _apply(args: argparse.Namespace, model: Any, plan: Plan) -> Any:
    """Compress ``model``; gives the table of the plan, with errors if they are not trained away."""
    from tvm_kp import report
    from tvm_kp.compress.apply import apply_measured

    rows = plan.rows(model)
    errors = apply_measured(model, plan, args.start)
    return report.plan_table(rows, errors if args.data is None else None)


def _compress(args: argparse.Namespace, model: Any, plan: Plan) -> None:
    from tvm_kp.compress import size

    before = size(model, bits=args.bits)
    table = _apply(args, model, plan)
    written = _exported(args, model, args.example_shape)
    console.stdout().print(table)
    if plan.choices:
        console.warn("no --data: the new weights are near to the old ones, and not trained on")
    _finish(args, written, before, size(model, bits=args.bits))


def _compress_and_train(args: argparse.Namespace, model: Any, plan: Plan, data: _Data) -> None:
    from tvm_kp.compress import size
    from tvm_kp.compress.samples import accuracy, check_samples

    for given, file in ((data.train, args.data), (data.test, args.test or args.data)):
        check_samples(model, given, file)
    dense, before = copy.deepcopy(model), size(model, bits=args.bits)
    shape = (1, *data.train.x.shape[1:])
    table = _apply(args, model, plan)
    # What cannot be exported is not trained first.
    written = _exported(args, model, shape)
    out = console.stdout()
    out.print(table)
    old = accuracy(dense, data.test)
    if plan.choices:
        _train(args, model, dense if _teaches(args, old, data) else None, data)
        written = _exported(args, model, shape)
    new = accuracy(model, data.test)
    out.print(f"Accuracy on {data.tested}: {old:.1%} → {new:.1%}", markup=False)
    _finish(args, written, before, size(model, bits=args.bits))
    if plan.choices:
        _checkpoint(args).unlink(missing_ok=True)


def _teaches(args: argparse.Namespace, right: float, data: _Data) -> bool:
    """Whether the dense model knows enough: twice what guesses do, or half of what they lack."""
    if args.no_distill:
        return False
    guessed = data.test.guessed()
    teaches = right >= min(2 * guessed, (1 + guessed) / 2)
    console.stdout().print(
        f"The dense model {'teaches' if teaches else 'does not teach'}: it is right in "
        f"{right:.1%} of {data.tested}, guesses in {guessed:.1%}",
        markup=False,
    )
    return teaches


def _train(args: argparse.Namespace, model: Any, teacher: Any, data: _Data) -> None:
    from tvm_kp.compress import Teacher, fit
    from tvm_kp.compress.training import one_thread

    checkpoint, epochs = _checkpoint(args), args.epochs or EPOCHS
    if checkpoint.exists():
        console.stdout().print(f"Going on from {checkpoint}", markup=False, soft_wrap=True)
    with console.epochs(console.stderr(), "Training", epochs, LINES) as progress, one_thread():
        fit(
            model,
            data.train.x,
            data.train.y,
            epochs=epochs,
            lr=args.lr or RATE,
            batch_size=args.batch_size or BATCH,
            seed=args.seed,
            teacher=None if teacher is None else Teacher(teacher),
            checkpoint=checkpoint,
            progress=progress,
        )


def _exported(args: argparse.Namespace, model: Any, shape: Sequence[int]) -> bytes:
    from tvm_kp.compress.export import export

    with console.progress(args, f"Exporting {args.output.name}") as progress:
        started = time.perf_counter()
        written = export(model, shape)
        progress("export", time.perf_counter() - started)
    return written


def _finish(args: argparse.Namespace, written: bytes, before: int, after: int) -> None:
    output.write(args.output, written)
    lines = (
        f"Parameters of {args.bits} bits: {before:,} → {after:,} bytes, "
        f"{before / after:.1f} times smaller",
        f"Wrote {args.output}",
        f"Make C of it with: tvm-kp compile {args.output} --target NAME (tvm-kp targets has them)",
    )
    console.stdout().print(*lines, sep="\n", markup=False, soft_wrap=True)
