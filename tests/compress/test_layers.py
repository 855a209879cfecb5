"""KroneckerLSTM against nn.LSTM with the same weights, its gradients, export and wrong use."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tvm_kp.compress import KroneckerLSTM
from tvm_kp.errors import ModelError

APART = (((3, 5), (2, 1)), ((2, 2), (3, 3)))


def same_lstm(layer: KroneckerLSTM) -> nn.LSTM:
    """An nn.LSTM that computes what ``layer`` does."""
    bias = layer.bias is not None
    dense = nn.LSTM(layer.input_size, layer.hidden_size, bias=bias, batch_first=layer.batch_first)
    state = dict(zip(("weight_ih_l0", "weight_hh_l0"), layer.weights(), strict=True))
    if bias:
        state |= {"bias_ih_l0": layer.bias, "bias_hh_l0": torch.zeros_like(layer.bias)}
    dense.load_state_dict(state)
    return dense


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize("options", [{}, {"apart": True}, {"bias": False}])
def test_computes_what_an_lstm_does(batch_first, batch, given_state, options):
    torch.manual_seed(0)
    layer = KroneckerLSTM(5, 6, batch_first=batch_first, **options)
    shape = (7, 5) if batch is None else (batch, 7, 5) if batch_first else (7, batch, 5)
    lead = (1,) if batch is None else (1, batch)
    hx = (torch.randn(*lead, 6), torch.randn(*lead, 6)) if given_state else None
    x = torch.randn(shape)
    y, (h, c) = layer(x, hx)
    expected_y, (expected_h, expected_c) = same_lstm(layer)(x, hx)
    for result, expected in ((y, expected_y), (h, expected_h), (c, expected_c)):
        assert result.shape == expected.shape
        torch.testing.assert_close(result, expected)


def test_weights_are_the_products_gate_by_gate():
    layer = KroneckerLSTM(5, 6, factors=((2, 11), (3, 1)))
    joint = np.concatenate(
        [np.kron(a, b) for a, b in zip(layer.a.detach(), layer.b.detach(), strict=True)]
    )
    w_ih, w_hh = (weight.detach().numpy() for weight in layer.weights())
    np.testing.assert_array_equal(np.hstack([w_ih, w_hh]), joint)


def test_factors_apart():
    layer = KroneckerLSTM(5, 6, factors=APART, apart=True)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters() if name != "bias"}
    assert shapes == {
        "a_ih": (4, 3, 5),
        "b_ih": (4, 2, 1),
        "a_hh": (4, 2, 2),
        "b_hh": (4, 3, 3),
    }
    w_ih, w_hh = layer.weights()
    assert (w_ih.shape, w_hh.shape) == ((24, 5), (24, 6))
    assert "a_ih=3x5, b_ih=2x1, a_hh=2x2, b_hh=3x3" in repr(layer)


@pytest.mark.parametrize("apart", [False, True])
def test_gradients(apart):
    torch.manual_seed(0)
    layer = KroneckerLSTM(3, 4, apart=apart, dtype=torch.float64)
    names, values = zip(*layer.named_parameters(), strict=True)
    x = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)

    def run(x, *parameters):
        y, (h, c) = torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)
        return y, h, c

    assert torch.autograd.gradcheck(run, (x, *values))


def test_export_keeps_the_products():
    layer = KroneckerLSTM(28, 40, batch_first=True).eval()
    x = torch.randn(1, 28, 28)
    program = torch.export.export(layer, (x,))
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    assert sum(node.target is torch.ops.aten.kron.default for node in calls) == 4
    (lstm,) = (node for node in calls if node.target is torch.ops.aten.lstm.input)
    ancestors = list(lstm.all_input_nodes)
    for node in ancestors:
        ancestors += [other for other in node.all_input_nodes if other not in ancestors]
    assert sum(node.target is torch.ops.aten.kron.default for node in ancestors) == 4
    torch.testing.assert_close(program.module()(x)[0], layer(x)[0])


def test_state_dict_round_trip():
    layer, other = KroneckerLSTM(5, 6), KroneckerLSTM(5, 6)
    other.load_state_dict(copy.deepcopy(layer.state_dict()))
    x = torch.randn(7, 2, 5)
    assert torch.equal(layer(x)[0], other(x)[0])
    assert set(layer.state_dict()) == {"a", "b", "bias"}


@pytest.mark.parametrize("apart", [False, True])
def test_initial_variance_is_that_of_nn_lstm(apart):
    torch.manual_seed(0)
    layers = [KroneckerLSTM(60, 36, apart=apart) for _ in range(30)]
    for name in range(2):
        variance = torch.stack([layer.weights()[name].var() for layer in layers]).mean()
        assert variance.item() == pytest.approx(1 / (3 * 36), rel=0.1)


@pytest.mark.parametrize(("inputs", "hidden", "expected"), [(28, 40, 17.6), (10, 118, 24.5)])
def test_compression_of_the_paper(inputs, hidden, expected):
    layer = KroneckerLSTM(inputs, hidden)
    assert layer.compression == pytest.approx(expected, abs=0.06)
    without_bias = KroneckerLSTM(inputs, hidden, bias=False)
    assert without_bias.compression > layer.compression


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"factors": ((2, 4), (3, 3))},
            r"2x4 and 3x3 make 6x12, but each gate of \[W_ih \| W_hh\] is 6x11; "
            r"give factors with m1\*m2 = 6 and n1\*n2 = 11, for example \(\(2, 11\), \(3, 1\)\)",
        ),
        ({"factors": ((2, 11),)}, r"are not \(\(m1, n1\), \(m2, n2\)\)"),
        ({"factors": ((-2, -11), (-3, -1))}, r"are not \(\(m1, n1\), \(m2, n2\)\)"),
        ({"factors": ((2, 11), (3, 1)), "apart": True}, r"are not a pair of \(\(m1, n1\)"),
        ({"factors": APART[::-1], "apart": True}, r"each gate of W_ih is 6x5"),
        ({"factors": APART[:1], "apart": True}, r"are not a pair of"),
    ],
)
def test_factors_that_do_not_fit(options, message):
    with pytest.raises(ModelError, match=message):
        KroneckerLSTM(5, 6, **options)
