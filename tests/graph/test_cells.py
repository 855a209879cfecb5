from __future__ import annotations

import numpy as np
import pytest
import torch
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from tvm import relax

from tvm_kp.graph.cells import CELLS, Weights
from tvm_kp.graph.rewrite import bindings, name_of

PYTORCH = {
    "lstm": nn.LSTMCell,
    "gru": nn.GRUCell,
    "rnn_tanh": nn.RNNCell,
    "rnn_relu": lambda *sizes: nn.RNNCell(*sizes, nonlinearity="relu"),
}


@settings(max_examples=20)
@given(st.sampled_from(sorted(CELLS)), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
def test_step_is_that_of_the_cell(on_vm, kind, batch, inputs, hidden):
    torch.manual_seed(0)
    cell = PYTORCH[kind](inputs, hidden)
    made = CELLS[kind](Weights(*(p.detach().numpy() for p in cell.parameters())))
    step = made.step(batch).with_attr("global_symbol", "main")
    x, *states = (torch.randn(batch, n) for n in (inputs, *made.widths))
    y, *new = on_vm(tvm.IRModule({"main": step}), x, *states)
    with torch.no_grad():
        expected = cell(x, tuple(states) if len(states) > 1 else states[0])
    np.testing.assert_array_equal(y, new[0])
    for found, good in zip(new, expected if len(states) > 1 else [expected], strict=True):
        np.testing.assert_allclose(found, good, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "without", "gru_adds"), [("lstm", 2, 0), ("rnn_tanh", 1, 0), ("gru", 3, 2)]
)
def test_a_bias_of_zeros_is_left_out(kind, without, gru_adds):
    gates = CELLS[kind].gates
    matrices = np.zeros((gates * 2, 3), "float32"), np.zeros((gates * 2, 2), "float32")
    for value, adds in ((0.0, without), (1.0, without + 1 + gru_adds)):
        bias = np.full(gates * 2, value, "float32")
        step = CELLS[kind](Weights(*matrices, bias, bias)).step(1)
        assert isinstance(step, relax.Function)
        names = [name_of(binding.value) for binding in bindings(step)]
        assert sum("add" in name for name in names) == adds


def test_biases_that_cancel_are_left_out():
    ones = np.ones(4, "float32")
    weights = Weights(np.ones((4, 3), "float32"), np.ones((4, 4), "float32"), ones, -ones)
    names = [name_of(b.value) for b in bindings(CELLS["rnn_tanh"](weights).step(1))]
    assert names.count("relax.add") == 1
