"""What a trained network of ``scripts/reproduce`` comes to on a board, in float32 and in int8."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from classifier import Classifier, export
from torch import Tensor, nn
from torch.export import ExportedProgram
from trainings import Job

import tvm_kp
from tvm_kp.cli import output

FORMATS = ("float32", "int8")
CALIBRATION_SAMPLES, BOARD_SAMPLES, SAVED_SAMPLES = 100, 3, 32
QUICK_SAMPLES = 10  # to calibrate with
PACKED: Any = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 9}


class Layer(nn.Module):
    """The recurrent layer of a classifier alone, so that its bytes can be told apart."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.rnn = network.rnn

    def forward(self, x: Tensor) -> Tensor:
        _, states = self.rnn(x)
        last: Tensor = states[0] if isinstance(states, tuple) else states
        return last


def measured(job: Job, target: str) -> dict[str, Any] | None:
    """What ``measure`` has written for this network; None if that is still to be done."""
    try:
        found: dict[str, Any] = json.loads(job.file(f"{target}.json").read_text())
    except (OSError, ValueError):
        return None
    return found if found.get("settings") == job.settings() else None


def measure(job: Job, target: str, on_board: bool) -> None:
    """Compiles the network, runs all test samples in C here, and writes what was found.

    ``on_board`` also counts instructions and bytes on ``target``: they are those of any seed.
    """
    torch.set_num_threads(1)
    network, (x, y) = job.network(), job.load_data().test
    program, layer = export(network, x), export(Layer(network), x)
    result: dict[str, Any] = {"settings": job.settings()}
    for form in FORMATS:
        options = tvm_kp.Options()
        if form != "float32":
            seen = {"x": _samples(calibration(job)[0])}
            options = replace(options, quantize=form, calibration=seen)
        result[form] = {"accuracy": _accuracy(program, options, x, y)}
        if on_board:
            result[form] |= _on_board(program, layer, options, x, target)
    output.write_json(job.file(f"{target}.json"), result)


def save(job: Job, folder: Path) -> None:
    """Writes the network as ``<benchmark>.pt2``, and samples of training as ``<benchmark>.npz``.

    They are ``x`` (N, 1, T, I) and their classes ``labels``, as ``--calibration`` takes them.
    """
    network, (x, y) = job.network(), calibration(job, SAVED_SAMPLES)
    whole, packed = io.BytesIO(), io.BytesIO()
    torch.export.save(export(network, x), whole)
    with zipfile.ZipFile(whole) as before, zipfile.ZipFile(packed, "w", **PACKED) as after:
        for name in before.namelist():  # the graph is text that shrinks to a tenth
            after.writestr(name, before.read(name))
    output.write(folder / f"{job.benchmark}.pt2", packed.getvalue())
    arrays = io.BytesIO()
    np.savez_compressed(arrays, x=_samples(x), labels=y.numpy())
    output.write(folder / f"{job.benchmark}.npz", arrays.getvalue())


def calibration(job: Job, count: int = CALIBRATION_SAMPLES) -> tuple[Tensor, Tensor]:
    """Samples of training as they are tested, (N, T, I), and their classes (N,)."""
    x, y = job.load_data().train
    count = min(count, QUICK_SAMPLES) if job.quick else count
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))[:count]
    return job.of.as_tested(x[chosen]), y[chosen]


def _accuracy(program: ExportedProgram, options: tvm_kp.Options, x: Tensor, y: Tensor) -> float:
    compiled = tvm_kp.compile(program, "host", options=options)
    scores = tvm_kp.run(compiled.model, "host", {"x": _samples(x)}).outputs["output"]
    return float((scores.reshape(len(x), -1).argmax(1) == y.numpy()).mean())


def _on_board(
    program: ExportedProgram,
    layer: ExportedProgram,
    options: tvm_kp.Options,
    x: Tensor,
    target: str,
) -> dict[str, Any]:
    compiled = tvm_kp.compile(program, target, options=options)
    run = tvm_kp.run(compiled.model, target, {"x": _samples(x[:BOARD_SAMPLES])})
    alone = tvm_kp.compile(layer, target, options=options)
    found = compiled.footprint
    return {
        "instructions": median(run.instructions),
        "flash_bytes": found.flash_bytes,
        "code_bytes": found.code_bytes,
        "tables_bytes": found.tables_bytes,
        "weights_bytes": found.weights_bytes,
        "ram_bytes": found.ram_bytes,
        "rnn_bytes": alone.footprint.weights_bytes,
        "structures": sorted({d.structure for d in alone.model.decisions}),
    }


def _samples(x: Tensor) -> np.ndarray:
    """(N, T, I) -> (N, 1, T, I): inputs of N inferences."""
    return x.unsqueeze(1).numpy()
