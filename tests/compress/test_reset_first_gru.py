"""The GRU that resets first: its formula in numpy, its Kronecker form, axes, gradients, export."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.compress import KroneckerGRU, ResetFirstGRU

SIZES = {
    "inputs": st.integers(1, 6),
    "hidden": st.integers(1, 6),
    "steps": st.integers(1, 5),
    "bias": st.booleans(),
    "seed": st.integers(0, 1000),
}


def layer_of(*sizes, seed=0, **options):
    torch.manual_seed(seed)
    return ResetFirstGRU(*sizes, dtype=torch.float64, **options)


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def reference(layer, x, h):
    """The states that ``x`` (T, inputs) takes ``h`` (hidden) through."""
    state = {name: value.numpy() for name, value in layer.state_dict().items()}
    bias = state.get("bias", np.zeros(3 * layer.hidden_size))
    r_x, z_x, n_x = np.split(state["weight_ih"], 3)
    r_h, z_h, n_h = np.split(state["weight_hh"], 3)
    r_b, z_b, n_b = np.split(bias, 3)
    passed = []
    for x_t in x:
        r = sigmoid(r_x @ x_t + r_h @ h + r_b)
        z = sigmoid(z_x @ x_t + z_h @ h + z_b)
        n = np.tanh(n_x @ x_t + n_h @ (r * h) + n_b)
        h = (1 - z) * n + z * h
        passed.append(h)
    return np.stack(passed)


@given(**SIZES)
def test_formula_in_numpy(inputs, hidden, steps, bias, seed):
    layer = layer_of(inputs, hidden, seed=seed, bias=bias)
    x, h = torch.randn(steps, inputs).double(), torch.randn(1, hidden).double()
    for hx, start in ((h, h[0].numpy()), (None, np.zeros(hidden))):
        y, last = layer(x, hx)
        expected = reference(layer, x.numpy(), start)
        np.testing.assert_allclose(y.detach(), expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(last.detach(), expected[-1:], rtol=1e-10, atol=1e-12)


@given(**SIZES)
def test_kronecker_form_is_the_dense_with_its_weights(inputs, hidden, steps, bias, seed):
    dense = layer_of(inputs, hidden, seed=seed, bias=bias)
    layer = KroneckerGRU(inputs, hidden, bias=bias, reset_after=False, dtype=torch.float64)
    weights = dict(zip(("weight_ih", "weight_hh"), layer.weights(), strict=True))
    dense.load_state_dict(weights | ({"bias": layer.bias} if bias else {}))
    x = torch.randn(steps, 2, inputs).double()
    torch.testing.assert_close(layer(x), dense(x))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("given_state", [False, True])
def test_axes(batch_first, given_state):
    """Every sequence of a batch goes the way it goes alone."""
    layer = layer_of(3, 4, batch_first=batch_first)
    x, h = torch.randn(5, 2, 3).double(), torch.randn(1, 2, 4).double()
    y, last = layer(x.transpose(0, 1) if batch_first else x, h if given_state else None)
    y = y.transpose(0, 1) if batch_first else y
    assert (y.shape, last.shape) == ((5, 2, 4), (1, 2, 4))
    for one in range(2):
        alone, end = layer(x[:, one], h[:, one] if given_state else None)
        torch.testing.assert_close(alone, y[:, one])
        torch.testing.assert_close(end, last[:, one])


def test_gradients():
    layer = layer_of(3, 4)
    names, values = zip(*layer.named_parameters(), strict=True)
    x, h = torch.randn(3, 2, 3).double().requires_grad_(), torch.randn(1, 2, 4).double()

    def run(x, h, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x, h))

    assert torch.autograd.gradcheck(run, (x, h.requires_grad_(), *values))


def test_exported_program_gives_the_same():
    layer = layer_of(3, 4, bias=False).eval()
    program = torch.export.export(layer, (torch.zeros(5, 1, 3).double(),))
    x = torch.randn(5, 1, 3).double()
    torch.testing.assert_close(program.module()(x), layer(x))


def test_starts_as_nn_rnn_does():
    layer = layer_of(60, 36)
    for parameter in layer.parameters():
        assert parameter.var().item() == pytest.approx(1 / (3 * 36), rel=0.2)
        assert parameter.abs().max().item() <= 1 / 6
    shapes = {name: tuple(value.shape) for name, value in layer.state_dict().items()}
    assert shapes == {"weight_ih": (108, 60), "weight_hh": (108, 36), "bias": (108,)}
    assert repr(layer) == "ResetFirstGRU(60, 36, bias=True)"
