"""What every layer does alike: axes, initial states, gradients, training, state dicts, export."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tvm_kp.compress import (
    FastGRNN,
    FastRNN,
    KroneckerFastGRNN,
    KroneckerFastRNN,
    KroneckerGRU,
    KroneckerLSTM,
    KroneckerRNN,
)

LAYERS = {
    "lstm": (KroneckerLSTM, {}),
    "rnn": (KroneckerRNN, {"apart": True}),
    "rnn relu": (KroneckerRNN, {"nonlinearity": "relu"}),
    "gru": (KroneckerGRU, {}),
    "gru before": (KroneckerGRU, {"reset_after": False}),
    "fast rnn": (FastRNN, {}),
    "fast grnn": (FastGRNN, {}),
    "kronecker fast rnn": (KroneckerFastRNN, {}),
    "kronecker fast grnn": (KroneckerFastGRNN, {"apart": True}),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def layer_of(name: str, *sizes: int, **options):
    kind, own = LAYERS[name]
    return kind(*sizes, **own, **options)


def states_of(name: str, *shape: int):
    h = torch.randn(shape)
    return (h, torch.randn(shape)) if name == "lstm" else h


def each(function, states):
    return tuple(map(function, states)) if isinstance(states, tuple) else function(states)


@every_layer
@given(
    inputs=st.integers(1, 6),
    hidden=st.integers(1, 8),
    steps=st.integers(1, 5),
    batch=st.integers(1, 3),
    bias=st.booleans(),
    given_state=st.booleans(),
)
def test_axes(name, inputs, hidden, steps, batch, bias, given_state):
    torch.manual_seed(0)
    layer = layer_of(name, inputs, hidden, bias=bias)
    x = torch.randn(steps, batch, inputs)
    hx = states_of(name, 1, batch, hidden) if given_state else None
    y, last = layer(x, hx)
    assert y.shape == (steps, batch, hidden)
    assert (layer.bias is not None) == bias

    layer.batch_first = True
    swapped, same = layer(x.transpose(0, 1), hx)
    torch.testing.assert_close(swapped.transpose(0, 1), y)
    torch.testing.assert_close(same, last)
    for layer.batch_first in (False, True):
        one = None if hx is None else each(lambda state: state[:, 0], hx)
        alone, alone_last = layer(x[:, 0], one)
        torch.testing.assert_close(alone, y[:, 0])
        torch.testing.assert_close(alone_last, each(lambda state: state[:, 0], last))


@every_layer
def test_continues_from_a_state(name):
    torch.manual_seed(0)
    layer, x = layer_of(name, 3, 6), torch.randn(7, 2, 3)
    y, last = layer(x)
    first, between = layer(x[:4])
    second, end = layer(x[4:], between)
    torch.testing.assert_close(torch.cat([first, second]), y)
    torch.testing.assert_close(end, last)


@every_layer
def test_gradients(name):
    torch.manual_seed(0)
    layer = layer_of(name, 3, 4, dtype=torch.float64)
    names, values = zip(*layer.named_parameters(), strict=True)
    x = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)

    def run(x, *parameters):
        y, last = torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)
        return (y, *last) if isinstance(last, tuple) else (y, last)

    assert torch.autograd.gradcheck(run, (x, *values))


@every_layer
def test_training_moves_every_parameter(name):
    torch.manual_seed(0)
    layer, x = layer_of(name, 3, 8), torch.randn(6, 16, 3)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    wanted = torch.sin(torch.linspace(0, 3, 8)) / 2
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    losses = []
    for _ in range(20):
        loss = nn.functional.mse_loss(layer(x)[0][-1], wanted.expand(16, 8))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    for key, value in layer.state_dict().items():
        assert not torch.equal(value, before[key]), key


@every_layer
def test_state_dict_round_trip(name):
    layer, other = layer_of(name, 5, 6), layer_of(name, 5, 6)
    x = torch.randn(7, 2, 5)
    assert not torch.equal(layer(x)[0], other(x)[0])
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x)[0], other(x)[0])


@every_layer
@pytest.mark.parametrize("options", [{}, {"bias": False, "batch_first": True}])
def test_exported_program_gives_the_same(name, options):
    torch.manual_seed(0)
    layer = layer_of(name, 4, 6, **options).eval()
    x = torch.randn(1, 5, 4)
    program = torch.export.export(layer, (x,))
    torch.testing.assert_close(program.module()(x), layer(x))
    again = torch.randn_like(x)
    torch.testing.assert_close(program.module()(again), layer(again))


@pytest.mark.parametrize("name", ["gru before", "fast rnn", "fast grnn", "kronecker fast rnn"])
def test_a_loop_exports_each_step_alike(name):
    """Factors are multiplied out once, and a step is the same operators whatever its number."""
    counts = []
    for steps in (2, 3, 4):
        program = torch.export.export(layer_of(name, 4, 6).eval(), (torch.randn(steps, 1, 4),))
        targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
        counts.append((len(targets), targets.count(torch.ops.aten.kron.default)))
    (two, krons), (three, same), (four, again) = counts
    assert four - three == three - two
    assert krons == same == again


@every_layer
def test_moves_with_dtype_and_device(name):
    layer = layer_of(name, 4, 6, dtype=torch.float64)
    assert layer(torch.randn(3, 4, dtype=torch.float64))[0].dtype == torch.float64
    meta = layer_of(name, 4, 6, device="meta")
    assert all(parameter.is_meta for parameter in meta.parameters())
    assert layer.float()(torch.randn(3, 4))[0].dtype == torch.float32
