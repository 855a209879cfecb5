"""LSTM, RNN and GRU against numpy and against PyTorch's own with the same weights; their export."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tvm_kp.compress import KroneckerGRU, KroneckerLSTM, KroneckerRNN
from tvm_kp.errors import ModelError

SIZES = {
    "inputs": st.integers(1, 8),
    "hidden": st.integers(1, 8),
    "steps": st.integers(1, 5),
    "seed": st.integers(0, 1000),
    "bias": st.booleans(),
}


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def lstm_step(x, h, c, w_ih, w_hh, bias):
    i, f, g, o = np.split(w_ih @ x + w_hh @ h + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def rnn_step(x, h, w_ih, w_hh, bias, function):
    return (function(w_ih @ x + w_hh @ h + bias),)


def gru_step(x, h, w_ih, w_hh, bias, reset_after):
    (ih_r, ih_z, ih_n), (hh_r, hh_z, hh_n) = np.split(w_ih, 3), np.split(w_hh, 3)
    b_r, b_z, b_n, *rest = np.split(bias, 4 if reset_after else 3)
    r = sigmoid(ih_r @ x + hh_r @ h + b_r)
    z = sigmoid(ih_z @ x + hh_z @ h + b_z)
    from_h = r * (hh_n @ h + rest[0]) if reset_after else hh_n @ (r * h)
    n = np.tanh(ih_n @ x + b_n + from_h)
    return ((1 - z) * n + z * h,)


def reference(layer, step, biases, x, *states, **options):
    """``step`` over x (T, I) from states (H,), ``biases`` vectors of zeros without a bias."""
    w_ih, w_hh = (weight.detach().numpy() for weight in layer.weights())
    zeros = torch.zeros(biases * layer.hidden_size)
    options["bias"] = (zeros if layer.bias is None else layer.bias.detach()).numpy()
    passed = []
    for x_t in x:
        states = step(x_t, *states, w_ih=w_ih, w_hh=w_hh, **options)
        passed.append(states[0])
    return np.stack(passed), *states


def check(results, expected):
    for result, array in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.detach().numpy(), array, rtol=1e-10, atol=1e-12)


def drawn(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape) for shape in shapes]


def same_dense(kind, layer, bias_pair, **options):
    """PyTorch's own layer ``kind`` that computes what ``layer`` does."""
    bias = layer.bias is not None
    sizes, batch_first = (layer.input_size, layer.hidden_size), layer.batch_first
    dense = kind(*sizes, bias=bias, batch_first=batch_first, **options)
    state = dict(zip(("weight_ih_l0", "weight_hh_l0"), layer.weights(), strict=True))
    if bias:
        state |= dict(zip(("bias_ih_l0", "bias_hh_l0"), bias_pair(layer.bias), strict=True))
    dense.load_state_dict(state)
    return dense


def summed(bias):
    return bias, torch.zeros_like(bias)


def gru_pair(bias):
    r, z, n, h_n = bias.chunk(4)
    return torch.cat([r, z, n]), torch.cat([torch.zeros_like(r), torch.zeros_like(z), h_n])


DENSE = {
    "lstm": (KroneckerLSTM, {}, nn.LSTM, summed, {}),
    "lstm apart": (KroneckerLSTM, {"apart": True}, nn.LSTM, summed, {}),
    "rnn": (KroneckerRNN, {}, nn.RNN, summed, {}),
    "relu": (KroneckerRNN, {"nonlinearity": "relu"}, nn.RNN, summed, {"nonlinearity": "relu"}),
    "rnn apart": (KroneckerRNN, {"apart": True}, nn.RNN, summed, {}),
    "gru": (KroneckerGRU, {}, nn.GRU, gru_pair, {}),
    "gru joint": (KroneckerGRU, {"apart": False}, nn.GRU, gru_pair, {}),
}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", DENSE)
def test_computes_what_the_dense_layer_does(name, batch_first, batch, given_state, bias):
    torch.manual_seed(0)
    kind, own, dense, bias_pair, options = DENSE[name]
    layer = kind(5, 6, bias=bias, batch_first=batch_first, **own)
    shape = (7, 5) if batch is None else (batch, 7, 5) if batch_first else (7, batch, 5)
    lead = (1,) if batch is None else (1, batch)
    hx = torch.randn(*lead, 6) if given_state else None
    if given_state and dense is nn.LSTM:
        hx = (hx, torch.randn(*lead, 6))
    x = torch.randn(shape)
    torch.testing.assert_close(layer(x, hx), same_dense(dense, layer, bias_pair, **options)(x, hx))


@pytest.mark.parametrize("apart", [False, True])
@given(**SIZES)
def test_lstm_in_numpy(apart, inputs, hidden, steps, seed, bias):
    layer = KroneckerLSTM(inputs, hidden, apart=apart, bias=bias, dtype=torch.float64)
    x, h, c = drawn(seed, (steps, inputs), (1, hidden), (1, hidden))
    y, (h_n, c_n) = layer(torch.from_numpy(x), (torch.from_numpy(h), torch.from_numpy(c)))
    check((y, h_n[0], c_n[0]), reference(layer, lstm_step, 4, x, h[0], c[0]))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@given(**SIZES)
def test_rnn_in_numpy(apart, nonlinearity, inputs, hidden, steps, seed, bias):
    options = {"apart": apart, "bias": bias, "nonlinearity": nonlinearity}
    layer = KroneckerRNN(inputs, hidden, dtype=torch.float64, **options)
    x, h = drawn(seed, (steps, inputs), (1, hidden))
    y, h_n = layer(torch.from_numpy(x), torch.from_numpy(h))
    function = np.tanh if nonlinearity == "tanh" else lambda value: np.maximum(value, 0)
    check((y, h_n[0]), reference(layer, rnn_step, 1, x, h[0], function=function))


@pytest.mark.parametrize(
    ("reset_after", "apart"), [(True, None), (True, False), (False, None), (False, True)]
)
@given(**SIZES)
def test_gru_in_numpy(reset_after, apart, inputs, hidden, steps, seed, bias):
    options = {"reset_after": reset_after, "apart": apart, "bias": bias}
    layer = KroneckerGRU(inputs, hidden, dtype=torch.float64, **options)
    x, h = drawn(seed, (steps, inputs), (1, hidden))
    y, h_n = layer(torch.from_numpy(x), torch.from_numpy(h))
    biases = 4 if reset_after else 3
    check((y, h_n[0]), reference(layer, gru_step, biases, x, h[0], reset_after=reset_after))


def test_a_gru_resets_one_way_or_the_other():
    before = KroneckerGRU(5, 6, reset_after=False)
    assert not before.apart and set(before.state_dict()) == {"a", "b", "bias"}
    after = KroneckerGRU(5, 6)
    assert after.apart and set(after.state_dict()) == {"a_ih", "b_ih", "a_hh", "b_hh", "bias"}
    assert repr(after).endswith("bias=True, reset_after=True)")
    assert set(KroneckerGRU(5, 6, apart=False).state_dict()) == {"a", "b", "bias"}


def test_lstm_state_dict_names():
    assert set(KroneckerLSTM(5, 6).state_dict()) == {"a", "b", "bias"}
    assert KroneckerLSTM(5, 6).bias.shape == (24,)


def test_rnn_nonlinearity():
    assert "nonlinearity=relu" in repr(KroneckerRNN(5, 6, nonlinearity="relu"))
    with pytest.raises(ModelError, match="'sigmoid'; there are 'tanh' and 'relu'"):
        KroneckerRNN(5, 6, nonlinearity="sigmoid")


@pytest.mark.parametrize(
    ("layer", "operator", "krons"),
    [
        (KroneckerLSTM(28, 40, batch_first=True), torch.ops.aten.lstm.input, 4),
        (KroneckerRNN(28, 40), torch.ops.aten.rnn_tanh.input, 1),
        (KroneckerRNN(28, 40, nonlinearity="relu"), torch.ops.aten.rnn_relu.input, 1),
        (KroneckerGRU(28, 40, batch_first=True), torch.ops.aten.gru.input, 6),
    ],
)
def test_export_keeps_the_products(layer, operator, krons):
    x = torch.randn(1, 28, 28)
    program = torch.export.export(layer.eval(), (x,))
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    (recurrence,) = (node for node in calls if node.target is operator)
    ancestors = list(recurrence.all_input_nodes)
    for node in ancestors:
        ancestors += [other for other in node.all_input_nodes if other not in ancestors]
    assert sum(node.target is torch.ops.aten.kron.default for node in ancestors) == krons
    torch.testing.assert_close(program.module()(x), layer(x))
