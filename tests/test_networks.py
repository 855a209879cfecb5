"""The trained networks of the benchmarks, which ``scripts/reproduce --networks`` writes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tvm_kp import driver

FOLDER = Path(__file__).parent / "networks"
SHAPES = {
    "MNIST-LSTM": ((5, 17), (8, 4)),
    "HAR1-BiLSTM": ((12, 21), (15, 9)),
    "KWS-LSTM": ((2, 16), (59, 8)),
    "KWS-GRU": ((11, 41), (14, 4)),
    "USPS-FastRNN": ((4, 12), (8, 4)),
}
CALIBRATED = 12  # samples
every_network = pytest.mark.parametrize("name", SHAPES)


@cache
def samples(name):
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def scores(name, quantize=None, target="host", count=None):
    """What the compiled network gives for its samples, and its decisions on recurrences."""
    calibration = {"x": samples(name)["x"][:CALIBRATED]} if quantize else None
    options = driver.Options(quantize=quantize, calibration=calibration)
    compiled = driver.compile(FOLDER / f"{name}.pt2", target, options=options)
    symbols = dict(compiled.footprint.sections)  # of the linked image
    assert symbols["global_workspace (ram)"] == compiled.model.workspace_bytes
    inputs = {"x": samples(name)["x"][:count]}
    outputs = driver.run(compiled.model, target, inputs).outputs["output"]
    return outputs[:, 0], [d for d in compiled.model.decisions if d.function != "main"]


@every_network
def test_trained_factors_give_pytorchs_scores_and_integers_decide_as_they_do(name):
    found, decisions = scores(name)
    assert {tuple(map(tuple, decision.factors)) for decision in decisions} == {SHAPES[name]}
    network = torch.export.load(FOLDER / f"{name}.pt2").module()
    with torch.no_grad():
        expected = torch.cat([network(x) for x in torch.from_numpy(samples(name)["x"])]).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)
    right = found.argmax(1) == samples(name)["labels"]
    assert right.mean() > 0.7  # it has learned
    near, _ = scores(name, "int8")
    noise = np.square(near - found).sum()
    assert 10 * np.log10(np.square(found).sum() / noise) > 15
    assert (near.argmax(1) == found.argmax(1)).mean() >= 0.9


@pytest.mark.parametrize("name", ["USPS-FastRNN", "KWS-LSTM"])
def test_a_board_gives_the_same_integers(name):
    here, there = (scores(name, "int8", target, 2)[0] for target in ("host", "mps2-an386"))
    np.testing.assert_array_equal(here, there)
