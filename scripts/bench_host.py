"""The workloads on this CPU: TVM's LLVM code, dense and factored, beside PyTorch's own kernels.

Rows have the keys workload, weights, target (``llvm``), seconds (median of an inference),
pytorch_seconds (of the network with its weights multiplied out, one thread), speed_up (over dense)
and max_difference (largest to PyTorch's outputs).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from workloads import WORKLOADS, Sample, decibels, sample

from tvm_kp import report

WARM, CALLS = 5, 50


def measure_host(name: str) -> Iterator[dict[str, Any]]:
    """The rows of one workload, dense and factored."""
    taken, dense = sample(WORKLOADS[name]), 0.0
    torch.set_num_threads(1)
    with torch.no_grad():
        pytorch = _seconds(lambda: taken.network(taken.x[0]))
    for weights in ("dense", "factored"):
        print(f"Measuring {name} {weights} on this CPU", file=sys.stderr)
        seconds, found = _measure(taken, weights == "factored")
        expected = taken.expected.numpy()
        dense = dense or seconds
        yield {
            "workload": name,
            "weights": weights,
            "format": "float32",
            "target": "llvm",
            "seconds": seconds,
            "pytorch_seconds": pytorch,
            "speed_up": dense / seconds,
            "max_difference": float(np.abs(found - expected).max()),
            "snr_db": decibels(found, expected),
        }


def _measure(taken: Sample, factorize: bool) -> tuple[float, np.ndarray]:
    import tvm
    from tvm import relax

    from tvm_kp import graph

    mod = graph.normalize()(graph.import_torch(taken.program))
    mod = graph.FactorizeKronecker()(mod) if factorize else mod
    executable = relax.build(graph.ExpandScan()(mod), tvm.target.Target("llvm"))
    main = relax.VirtualMachine(executable, tvm.cpu())["main"]
    inputs = [tvm.runtime.tensor(x.numpy()) for x in taken.x]
    found = np.stack([main(x)[0].numpy() for x in inputs])
    return _seconds(lambda: main(inputs[0])), found


def _seconds(call: Callable[[], Any]) -> float:
    taken = []
    for _ in range(WARM + CALLS):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return median(taken[WARM:])


def host_table(rows: Sequence[dict[str, Any]]) -> report.Table:
    """Milliseconds of an inference, and ratios."""
    lines = tuple(
        (
            *(row["workload"], row["weights"], round(1000 * row["seconds"], 3)),
            *(round(1000 * row["pytorch_seconds"], 3), round(row["speed_up"], 2)),
            *(round(row["pytorch_seconds"] / row["seconds"], 2), f"{row['max_difference']:.0e}"),
        )
        for row in rows
    )
    columns = ("", "weights", "TVM ms", "PyTorch ms", "over dense", "over PyTorch", "difference")
    note = "Medians on this machine, float32; PyTorch on one thread with dense weights."
    return report.Table("One inference on this CPU", columns, lines, note)
