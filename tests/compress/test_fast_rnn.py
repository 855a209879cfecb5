"""FastRNN and FastGRNN against their formulas in numpy; the Kronecker forms against the dense."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.compress import FastGRNN, FastRNN, KroneckerFastGRNN, KroneckerFastRNN

SIZES = {
    "inputs": st.integers(1, 8),
    "hidden": st.integers(1, 8),
    "steps": st.integers(1, 5),
    "seed": st.integers(0, 1000),
    "bias": st.booleans(),
}
DENSE = {KroneckerFastRNN: FastRNN, KroneckerFastGRNN: FastGRNN}
every_layer = pytest.mark.parametrize("kind", [*DENSE, *DENSE.values()], ids=lambda k: k.__name__)


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def fast_rnn(x, h, w, u, biases, alpha, beta):
    return sigmoid(alpha) * np.tanh(w @ x + u @ h + biases[0]) + sigmoid(beta) * h


def fast_grnn(x, h, w, u, biases, zeta, nu):
    b_z, b_h = biases
    z = sigmoid(w @ x + u @ h + b_z)
    candidate = np.tanh(w @ x + u @ h + b_h)
    return (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * candidate + z * h


def reference(layer, x, h):
    gated = isinstance(layer, FastGRNN | KroneckerFastGRNN)
    step, names = (fast_grnn, ("zeta", "nu")) if gated else (fast_rnn, ("alpha", "beta"))
    state = {name: value.numpy() for name, value in layer.state_dict().items()}
    w, u = (weight.detach().numpy() for weight in layer.weights())
    biases = state.get("bias", np.zeros((1 + gated) * layer.hidden_size))
    passed = []
    for x_t in x:
        h = step(x_t, h, w, u, np.split(biases, 1 + gated), *(state[name] for name in names))
        passed.append(h)
    return np.stack(passed)


def shuffled(layer, seed):
    """``layer`` with scalars and biases unlike each other, as training leaves them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    return layer


@every_layer
@given(**SIZES)
def test_formula_in_numpy(kind, inputs, hidden, steps, seed, bias):
    layer = shuffled(kind(inputs, hidden, bias=bias, dtype=torch.float64), seed)
    generator = np.random.default_rng(seed)
    x, h = generator.standard_normal((steps, inputs)), generator.standard_normal(hidden)
    y, h_n = layer(torch.from_numpy(x), torch.from_numpy(h)[None])
    expected = reference(layer, x, h)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(h_n[0].detach().numpy(), expected[-1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", DENSE, ids=lambda k: k.__name__)
@pytest.mark.parametrize("apart", [False, True])
@given(**SIZES)
def test_kronecker_form_is_the_dense_with_its_weights(
    kind, apart, inputs, hidden, steps, seed, bias
):
    layer = shuffled(kind(inputs, hidden, apart=apart, bias=bias), seed)
    dense = DENSE[kind](inputs, hidden, bias=bias)
    w_ih, w_hh = layer.weights()
    others = {
        key: value
        for key, value in layer.state_dict().items()
        if key[:2] not in ("a", "b", "a_", "b_")
    }
    dense.load_state_dict({"weight_ih": w_ih, "weight_hh": w_hh, **others})
    x = torch.randn(steps, 2, inputs, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(layer(x), dense(x))


@every_layer
def test_starts_as_published(kind):
    layer = kind(5, 6)
    gated = kind in (FastGRNN, KroneckerFastGRNN)
    scalars = {"zeta": 1.0, "nu": -4.0} if gated else {"alpha": -3.0, "beta": 3.0}
    for name, value in scalars.items():
        assert layer.get_parameter(name).tolist() == [value]
    assert layer.bias.tolist() == [1.0] * (12 if gated else 6)


@pytest.mark.parametrize("kind", DENSE.values(), ids=lambda k: k.__name__)
def test_dense_weights_start_as_those_of_nn_rnn(kind):
    torch.manual_seed(0)
    layer = kind(60, 36)
    for weight in layer.weights():
        assert weight.var().item() == pytest.approx(1 / (3 * 36), rel=0.1)
        assert weight.abs().max().item() <= 1 / 6
    assert repr(layer) == f"{kind.__name__}(60, 36, bias=True)"


@pytest.mark.parametrize("kind", DENSE.values(), ids=lambda k: k.__name__)
def test_parameters(kind):
    names = {"FastRNN": {"alpha", "beta"}, "FastGRNN": {"zeta", "nu"}}[kind.__name__]
    weights = {"weight_ih", "weight_hh"}
    assert set(kind(5, 6).state_dict()) == weights | {"bias"} | names
    assert set(kind(5, 6, bias=False).state_dict()) == weights | names


def test_compression_of_usps():
    """A dense 32 x 48 layer without bias in (4 x 12) ⊗ (8 x 4), and two scalars."""
    layer = KroneckerFastRNN(16, 32, factors=((4, 12), (8, 4)), bias=False)
    assert layer.compression == pytest.approx((1536 + 2) / (80 + 2))
