"""The flags of ``compress``."""

from __future__ import annotations

import argparse
from pathlib import Path

from tvm_kp.cli.options import names, positive

EPOCHS, RATE, BATCH = 30, 0.01, 64


def add_flags(parser: argparse.ArgumentParser) -> None:
    """All of them, in groups."""
    parser.add_argument(
        "MODEL",
        metavar="FILE.py:FACTORY",
        help="a function without arguments that returns the nn.Module; for training, a classifier "
        "(N, …) -> scores (N, classes)",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="STATE.pt",
        help="trained weights of the model: torch.save(model.state_dict(), file)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("model.pt2"),
        metavar="FILE",
        help="the exported program for one sample, which compile reads (%(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would be done")
    _add_plan(parser.add_argument_group("plan"))
    _add_data(parser.add_argument_group("data"))
    _add_training(parser.add_argument_group("training, with --data"))


def _add_plan(group: argparse._ArgumentGroup) -> None:
    goal = group.add_mutually_exclusive_group(required=True)
    goal.add_argument(
        "--budget", metavar="SIZE", help="of all parameters: bytes, or 16KB; or give --factor"
    )
    goal.add_argument(
        "--factor", type=float, metavar="X", help="how many times smaller each layer's weights get"
    )
    group.add_argument(
        "--objective",
        choices=("rank", "size", "macs"),
        default="rank",
        help="what is best of all that is small enough (%(default)s)",
    )
    group.add_argument(
        "--rule",
        choices=("search", "primes"),
        default="search",
        help="primes: the shapes that follow from the prime factors of a layer's sizes "
        "(%(default)s)",
    )
    group.add_argument(
        "--layers", type=names, metavar="A,B", help="which (the recurrent ones, or all linear ones)"
    )
    group.add_argument(
        "--bits",
        type=int,
        choices=(8, 32),
        default=32,
        help="of each number, in sizes: 8 if the model is to be quantized (%(default)s)",
    )


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data",
        type=Path,
        metavar="TRAIN.npz",
        help="x (N, …), float32, and y (N,), whole numbers: samples and their classes. Without, "
        "weights are replaced by the nearest ones and not trained",
    )
    group.add_argument(
        "--test",
        type=Path,
        metavar="TEST.npz",
        help="the same to measure accuracies on (the tenth of --data that is held out for it)",
    )
    group.add_argument(
        "--example-shape",
        type=_shape,
        metavar="1,28,28",
        help="of the input for one sample, where there is no --data",
    )


def _add_training(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--epochs", type=positive, metavar="N", help=f"({EPOCHS})")
    group.add_argument(
        "--lr", type=_rate, metavar="X", help=f"the largest rate of one cycle of Adam ({RATE})"
    )
    group.add_argument("--batch-size", type=positive, metavar="N", help=f"({BATCH})")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="(%(default)s)")
    group.add_argument(
        "--start",
        choices=("nearest", "random"),
        default="nearest",
        help="from the weights nearest to the model's, or from new ones (%(default)s)",
    )
    group.add_argument(
        "--no-distill",
        action="store_true",
        help="learn from the classes alone, not also from the scores of the model as it was; that "
        "is done only if they are better than guesses",
    )
    group.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="where the same command goes on if it was cut off; removed at the end "
        "(the output's name with .checkpoint)",
    )


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no rate; give a positive number, 0.01 say")
    return value


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(size.strip().isdecimal() and int(size) for size in sizes):
        raise argparse.ArgumentTypeError(
            f"{text} is no shape; give whole numbers and commas, for example 1,28,28"
        )
    return tuple(map(int, sizes))
