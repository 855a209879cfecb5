"""The factors of every Kronecker layer: products, shapes, initial values, size and wrong use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.compress import (
    KroneckerFastGRNN,
    KroneckerFastRNN,
    KroneckerGRU,
    KroneckerLSTM,
    KroneckerRNN,
)
from tvm_kp.errors import ModelError

GATES = {
    KroneckerLSTM: 4,
    KroneckerGRU: 3,
    KroneckerRNN: 1,
    KroneckerFastRNN: 1,
    KroneckerFastGRNN: 1,
}
APART = (((3, 5), (2, 1)), ((2, 2), (3, 3)))
every_layer = pytest.mark.parametrize("kind", GATES, ids=lambda kind: kind.__name__)


def layer_of(kind, *sizes, apart=False, **options):
    if kind is KroneckerGRU:
        options["reset_after"] = apart
    return kind(*sizes, apart=apart, **options)


def stacked(a, b):
    return np.concatenate([np.kron(*pair) for pair in zip(a.detach(), b.detach(), strict=True)])


@every_layer
@given(inputs=st.integers(1, 12), hidden=st.integers(1, 12))
def test_weights_are_the_products_gate_by_gate(kind, inputs, hidden):
    layer = layer_of(kind, inputs, hidden)
    w_ih, w_hh = (weight.detach().numpy() for weight in layer.weights())
    assert w_ih.shape == (GATES[kind] * hidden, inputs)
    assert w_hh.shape == (GATES[kind] * hidden, hidden)
    np.testing.assert_array_equal(np.hstack([w_ih, w_hh]), stacked(layer.a, layer.b))


@every_layer
@given(inputs=st.integers(1, 12), hidden=st.integers(1, 12))
def test_weights_of_factors_apart(kind, inputs, hidden):
    layer = layer_of(kind, inputs, hidden, apart=True)
    w_ih, w_hh = (weight.detach().numpy() for weight in layer.weights())
    np.testing.assert_array_equal(w_ih, stacked(layer.a_ih, layer.b_ih))
    np.testing.assert_array_equal(w_hh, stacked(layer.a_hh, layer.b_hh))


@every_layer
def test_given_factors(kind):
    gates = GATES[kind]
    joint = layer_of(kind, 5, 6, factors=((2, 11), (3, 1)))
    assert (joint.a.shape, joint.b.shape) == ((gates, 2, 11), (gates, 3, 1))
    assert "5, 6, a=2x11, b=3x1, bias=True" in repr(joint)
    apart = layer_of(kind, 5, 6, factors=APART, apart=True)
    shapes = [tuple(apart.get_parameter(name).shape) for name in ("a_ih", "b_ih", "a_hh", "b_hh")]
    assert shapes == [(gates, 3, 5), (gates, 2, 1), (gates, 2, 2), (gates, 3, 3)]
    assert "a_ih=3x5, b_ih=2x1, a_hh=2x2, b_hh=3x3, bias=True" in repr(apart)


@every_layer
@pytest.mark.parametrize("apart", [False, True])
def test_initial_variance_is_that_of_the_dense_layer(kind, apart):
    torch.manual_seed(0)
    layers = [layer_of(kind, 60, 36, apart=apart) for _ in range(30 if GATES[kind] > 1 else 90)]
    for name in range(2):
        variance = torch.stack([layer.weights()[name].var() for layer in layers]).mean()
        assert variance.item() == pytest.approx(1 / (3 * 36), rel=0.1)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda **options: KroneckerLSTM(28, 40, **options), 17.6),
        (lambda **options: KroneckerLSTM(10, 118, **options), 24.5),
        (lambda **options: KroneckerGRU(10, 154, reset_after=False, **options), 38.4),
    ],
)
def test_compression_of_the_paper(layer, expected):
    assert layer().compression == pytest.approx(expected, abs=0.06)
    assert layer(bias=False).compression > layer().compression


@every_layer
@given(inputs=st.integers(1, 12), hidden=st.integers(1, 12), bias=st.booleans())
def test_compression_counts_every_parameter(kind, inputs, hidden, bias):
    layer = layer_of(kind, inputs, hidden, bias=bias)
    size = sum(parameter.numel() for parameter in layer.parameters())
    dense = size - layer.a.numel() - layer.b.numel() + sum(w.numel() for w in layer.weights())
    assert layer.compression == pytest.approx(dense / size)


@every_layer
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
def test_factors_that_do_not_fit(kind, options, message):
    with pytest.raises(ModelError, match=message):
        layer_of(kind, 5, 6, **options)
