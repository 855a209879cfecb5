"""What a step of training costs with every form, beside the dense layer's.

Rows have the keys workload, form, seconds (of a step, median) and times_dense.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import torch
from benchmarks import BENCHMARKS
from torch import nn

from tvm_kp import report

BATCH, WARM, STEPS = 64, 3, 30


def measure_training(name: str) -> Iterator[dict[str, Any]]:
    """The rows of one workload; networks take turns, so that all see the same machine."""
    print(f"Measuring training of {name} on this CPU", file=sys.stderr)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    benchmark = BENCHMARKS[name]
    x = torch.randn(BATCH, benchmark.steps, benchmark.inputs)
    y = torch.randint(benchmark.classes, (BATCH,))
    networks = {name: benchmark.make(name) for name in benchmark.methods if name != "small"}
    taken: dict[str, list[float]] = {method: [] for method in networks}
    for _ in range(WARM + STEPS):
        for method, network in networks.items():
            begin = time.perf_counter()
            nn.functional.cross_entropy(network(x), y).backward()
            taken[method].append(time.perf_counter() - begin)
    seconds = {method: median(times[WARM:]) for method, times in taken.items()}
    for method in networks:
        choice = benchmark.choice(method)
        yield {
            "workload": name,
            "form": method if choice is None else str(choice.forms[0]),
            "seconds": seconds[method],
            "times_dense": seconds[method] / seconds["dense"],
        }


def training_table(rows: Sequence[dict[str, Any]]) -> report.Table:
    """Milliseconds of a step, and ratios."""
    lines = tuple(
        (
            *(row["workload"], row["form"]),
            *(round(1000 * row["seconds"], 2), round(row["times_dense"], 2)),
        )
        for row in rows
    )
    note = f"Medians on this machine, forward and backward of {BATCH} samples on one thread."
    columns = ("", "weights", "ms", "times dense")
    return report.Table("One step of training on this CPU", columns, lines, note)
