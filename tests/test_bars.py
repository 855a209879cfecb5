"""What the keyword-spotting LSTM may cost: instructions are exact, so they may be asserted."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import tvm_kp
from tvm_kp.artifacts import RunResult
from tvm_kp.compress import KroneckerLSTM


class Words(torch.nn.Module):
    """10 coefficients a frame, 118 hidden units, 12 words."""

    def __init__(self, factored: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = (
            KroneckerLSTM(10, 118, ((2, 16), (59, 8)), batch_first=True)
            if factored
            else torch.nn.LSTM(10, 118, batch_first=True)
        )
        self.head = torch.nn.Linear(118, 12)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize(
    ("factored", "board", "bar"),
    [
        (True, "mps2-an386", 410_000),
        (True, "mps2-an500", 410_000),
        (True, "mps3-an547", 210_000),
        (False, "mps2-an386", 2_000_000),
        (False, "mps2-an500", 2_000_000),
        (False, "mps3-an547", 960_000),
    ],
)
def test_instructions(factored, board, bar):
    network, x = Words(factored).eval(), torch.linspace(-1, 1, 250).reshape(1, 25, 10)
    compiled = tvm_kp.compile(network, board, example_inputs=(x,))
    result = tvm_kp.run(compiled.model, board, {"x": x.numpy()})
    expected = network(x).detach().numpy()
    np.testing.assert_allclose(result.outputs["output"][0], expected, rtol=0, atol=1e-5)
    assert result.instructions[0] <= bar


def test_code_does_not_grow_with_the_sequence():
    sizes, operators = [], []
    for steps in (25, 1000):
        x = torch.zeros(1, steps, 10)
        compiled = tvm_kp.compile(Words(True).eval(), "mps2-an386", example_inputs=(x,))
        sizes.append(compiled.footprint.flash_bytes)
        # The front matter has the model's hash.
        operators.append(compiled.model.sources["default_lib1.c"].split("*/", 1)[1])
    assert abs(sizes[1] - sizes[0]) < 64
    assert operators[0] == operators[1]


@pytest.mark.parametrize(
    "rnn",
    [
        torch.nn.LSTM(10, 16),
        torch.nn.GRU(10, 16),
        torch.nn.RNN(10, 16),
        torch.nn.RNN(10, 16, nonlinearity="relu"),
        torch.nn.GRU(10, 16, num_layers=2, bidirectional=True),
    ],
)
def test_code_of_every_layer_does_not_grow_with_the_sequence(rnn):
    def flash(steps: int) -> int:
        x = torch.zeros(steps, 1, 10)
        compiled = tvm_kp.compile(rnn, "mps2-an386", example_inputs=(x,))
        return compiled.footprint.flash_bytes

    assert abs(flash(200) - flash(20)) < 64


class Layers(torch.nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.rnn = torch.nn.LSTM(10, 64, layers, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0][:, -1]


def test_layers_take_no_more_memory_than_their_states():
    def workspace(layers: int) -> int:
        x = torch.zeros(1, 100, 10)
        return tvm_kp.compile(Layers(layers), "host", example_inputs=(x,)).model.workspace_bytes

    assert workspace(3) <= workspace(1) + 2 * (2 * 64 * 4)


def test_keyword_spotting_takes_little_memory():
    compiled = tvm_kp.compile(Words(True), "mps2-an386", example_inputs=(torch.zeros(1, 25, 10),))
    assert compiled.footprint.ram_bytes - 25 * 10 * 4 <= 4096


def test_compilation_does_not_grow_with_the_sequence():
    # Imports what later ones need no more.
    tvm_kp.compile(Words(True), "mps2-an386", example_inputs=(torch.zeros(1, 25, 10),))
    few, many = compile_calls(25), compile_calls(1000)
    assert few > 10_000
    assert many < 1.1 * few


def compile_calls(steps: int) -> int:
    """How many Python functions a compilation calls: its time would depend on the machine."""
    count = 0

    def on_event(_frame, event, _argument):
        nonlocal count
        count += event == "call"

    network, x = Words(True), torch.zeros(1, steps, 10)
    sys.setprofile(on_event)
    try:
        tvm_kp.compile(network, "mps2-an386", example_inputs=(x,))
    finally:
        sys.setprofile(None)
    return count


def quantized(network, board: str, form: str = "int8") -> tuple[tvm_kp.Compiled, RunResult, float]:
    """A keyword network in integers: how it was compiled, run, and its signal to noise in dB."""
    random = np.random.default_rng(0)
    calibration, x = (random.standard_normal((n, 1, 25, 10)).astype("float32") for n in (8, 2))
    options = tvm_kp.Options(quantize=form, calibration={"x": calibration})
    example = (torch.from_numpy(x[0]),)
    compiled = tvm_kp.compile(network.eval(), board, example_inputs=example, options=options)
    result = tvm_kp.run(compiled.model, board, {"x": x})
    with torch.no_grad():
        expected = np.stack([network(torch.from_numpy(one)).numpy() for one in x])
    noise = np.square(result.outputs["output"] - expected).sum()
    return compiled, result, 10 * np.log10(np.square(expected).sum() / noise)


@pytest.mark.parametrize(
    ("factored", "board", "bar"),
    [
        (True, "mps2-an386", 360_000),
        (True, "mps2-an500", 360_000),
        (True, "mps3-an547", 150_000),
        (False, "mps2-an386", 2_050_000),
        (False, "mps3-an547", 700_000),
    ],
)
def test_instructions_in_integers(factored, board, bar):
    """CMSIS-NN's LSTM of this size, which knows dense weights alone, takes 4,283,963 on the M4
    and 993,437 on the M55."""
    _, result, decibels = quantized(Words(factored), board)
    assert result.instructions[0] <= bar
    assert decibels >= 25


def test_less_code_has_the_same_results():
    x = np.random.default_rng(0).standard_normal((8, 1, 25, 10)).astype("float32")
    runs = []
    for optimize in ("speed", "size"):
        options = tvm_kp.Options(quantize="int8", calibration={"x": x}, optimize=optimize)
        example = (torch.from_numpy(x[0]),)
        compiled = tvm_kp.compile(
            Words(True).eval(), "mps2-an386", example_inputs=example, options=options
        )
        runs.append((compiled.footprint, tvm_kp.run(compiled.model, "mps2-an386", {"x": x[:1]})))
    (fast, quick), (small, slow) = runs
    np.testing.assert_array_equal(slow.outputs["output"], quick.outputs["output"])
    assert small.code_bytes <= 0.7 * fast.code_bytes
    assert slow.instructions[0] <= 1.05 * quick.instructions[0]
    told = sum(one.bytes_after for one in compiled.model.decisions)
    assert told <= small.weights_bytes < 2 * told  # biases and factors' scales come on top


def test_keyword_spotting_in_integers_takes_twelve_kilobytes():
    compiled, _, decibels = quantized(Words(True), "mps2-an386", "int16x8")
    assert compiled.footprint.flash_bytes <= 12 * 1024
    assert compiled.footprint.ram_bytes - 25 * 10 * 4 <= 2048
    assert decibels >= 45
