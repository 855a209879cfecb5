"""What is trained with is what is deployed: the same integers, nearly the same outputs."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from tvm import relax
from tvm.ir import GenericConst

import tvm_kp
from tvm_kp import fixedpoint, graph
from tvm_kp.compress import (
    Choice,
    FastRNN,
    Kronecker,
    KroneckerFastGRNN,
    KroneckerGRU,
    KroneckerLSTM,
    KroneckerRNN,
    LowRank,
    Plan,
    Pruned,
    ResetFirstGRU,
    anneal,
    apply,
    fit,
    freeze,
    prepare,
    rounding,
)
from tvm_kp.compress import deployed as deployed_weights
from tvm_kp.errors import InputError, ModelError
from tvm_kp.graph.quantization import formats
from tvm_kp.graph.rewrite import bindings

PAIR = ((4, 4), (3, 5))  # of [W_ih | W_hh], 12 x 20
PAIRS = ((3, 4), (4, 2)), ((3, 4), (4, 3))  # of W_ih, 12 x 8, and W_hh, 12 x 12


def changed(layer: nn.Module, *forms) -> nn.Module:
    """With these forms, and with their entries chosen."""
    model = nn.Sequential(layer)
    apply(model, Plan((Choice("0", forms),)), start="random")
    anneal(model, 1.0)
    return layer


LAYERS = {
    "LSTM": lambda: nn.LSTM(8, 12),
    "projection": lambda: nn.LSTM(8, 16, proj_size=12),
    "GRU": lambda: nn.GRU(8, 12),
    "KroneckerLSTM": lambda: KroneckerLSTM(8, 12),
    "KroneckerRNN, apart": lambda: KroneckerRNN(8, 12, apart=True),
    "KroneckerGRU": lambda: KroneckerGRU(8, 12),
    "KroneckerGRU, joint": lambda: KroneckerGRU(8, 12, apart=False),
    "KroneckerGRU, before": lambda: KroneckerGRU(8, 12, reset_after=False),
    "FastRNN": lambda: FastRNN(8, 12),
    "KroneckerFastGRNN": lambda: KroneckerFastGRNN(8, 12),
    "ResetFirstGRU": lambda: ResetFirstGRU(8, 12),
    "LSTM, applied": lambda: changed(nn.LSTM(8, 12), Kronecker(PAIR)),
    "LSTM, applied apart": lambda: changed(nn.LSTM(8, 12), *map(Kronecker, PAIRS)),
    "GRU, applied apart": lambda: changed(nn.GRU(8, 12), *map(Kronecker, PAIRS)),
    "FastRNN, applied": lambda: changed(FastRNN(8, 12), Kronecker(PAIR)),
    "ResetFirstGRU, applied": lambda: changed(ResetFirstGRU(8, 12), Kronecker(PAIR)),
    "LSTM, pruned": lambda: changed(nn.LSTM(8, 12), Pruned(0.5)),
    "GRU, pruned": lambda: changed(nn.GRU(8, 12), Pruned(0.5)),
}


class Net(nn.Module):
    """The last of 3 steps of 8 features, in 4 classes."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = LAYERS[layer](), nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x.transpose(0, 1))[0][-1])


def samples(count: int = 60) -> torch.Tensor:
    return torch.randn(count, 3, 8, generator=torch.Generator().manual_seed(0))


def trained(net: nn.Module, epochs: int = 2) -> nn.Module:
    x = samples()
    fit(net, x, x[:, :, :4].sum(1).argmax(1), epochs=epochs, lr=0.02, batch_size=20, seed=0)
    return net


def prepared(net: nn.Module, **options) -> nn.Module:
    prepare(net, **options)
    return net


def uneven(net: Net) -> Net:
    """Rows of very different size, so that scales are those of rows."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "bias" not in name and parameter.dim() > 1:
                parameter *= torch.logspace(0, -1, parameter.shape[-2])[:, None]
    return net


def deployed(net: nn.Module) -> list[np.ndarray]:
    """The 8-bit weights of the module in integers."""
    mod = graph.normalize()(graph.import_torch(net.eval(), (samples(1),)))
    mod = graph.arrange()(graph.FactorizeKronecker()(mod))
    records = [(one[None].numpy(),) for one in samples(1)]
    mod = graph.quantize(mod, graph.calibrate(mod, records), graph.Quantization(8)).mod
    functions = [f for _, f in mod.functions_items() if isinstance(f, relax.Function)]
    read = [arg for f in functions for b in bindings(f) for arg in getattr(b.value, "args", ())]
    arrays = [arg.value.numpy() for arg in read if isinstance(arg, GenericConst)]
    return [array for array in arrays if array.dtype == np.int8]


def by_magnitude(arrays) -> set[bytes]:
    """As the layout does not matter, nor the signs, which factors may exchange."""
    return {np.sort(np.abs(array).astype(np.int8).ravel()).tobytes() for array in arrays}


def rounded(net: nn.Module, monkeypatch) -> list[np.ndarray]:
    """The integers of fake quantization."""
    kept = []

    def watched(w):
        q, scale = rounding.integers(w)
        kept.append(q.numpy())
        return q * scale

    with monkeypatch.context() as patch:
        patch.setattr(deployed_weights, "round_matrix", watched)
        patch.setattr(rounding, "round_matrix", watched)
        for layer in (net.rnn, net.head):
            deployed_weights.rounded_weights(layer)
    return kept


@pytest.mark.parametrize("spread", [0.0, 2.0, 8.0])
@pytest.mark.parametrize("shape", [(6, 9), (3, 4, 5), (5, 1), (1, 7)])
def test_grid_is_that_of_the_deployed_weights(shape, spread):
    random = np.random.default_rng(0)
    for _ in range(10):
        w = random.standard_normal(shape) * 10.0 ** -random.uniform(0, spread, (shape[-2], 1))
        q, scale = rounding.integers(torch.from_numpy(w.astype("float32")))
        expected, scales = fixedpoint.quantize_weights(w.astype("float32"))
        np.testing.assert_array_equal(q.numpy(), expected)
        np.testing.assert_array_equal(scale.numpy(), np.broadcast_to(scales, scale.shape))
    q, scale = rounding.integers(torch.zeros(shape))
    assert not q.any() and (scale == 1).all()


@pytest.mark.parametrize(
    "layer",
    [
        *("GRU", "KroneckerLSTM", "KroneckerGRU, joint", "ResetFirstGRU", "LSTM, applied"),
        *("GRU, applied apart", "FastRNN, applied", "ResetFirstGRU, applied"),
        *("LSTM, pruned", "GRU, pruned"),
    ],
)
def test_integers_are_those_that_are_deployed(layer, monkeypatch):
    net = trained(prepared(Net(layer)))
    expected = by_magnitude(rounded(net, monkeypatch))
    freeze(net)
    assert by_magnitude(deployed(net)) == expected


def test_integers_of_rows_are_those_that_are_deployed(monkeypatch):
    net = uneven(Net("LSTM"))
    expected = rounded(net, monkeypatch)
    assert any((np.abs(q).max(-1) == 127).all() and q.shape[-2] > 2 for q in expected)
    freeze(prepared(net))
    assert by_magnitude(deployed(net)) == by_magnitude(expected)


@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_pass_and_training_learns(layer):
    net = Net(layer)
    names = list(net.state_dict())
    optimized, hooks = list(net.parameters()), len(net.rnn._forward_pre_hooks)
    prepare(net)
    assert all(map(torch.Tensor.is_set_to, net.parameters(), optimized))
    history = fit(
        net, x := samples(), x.sum((1, 2)).gt(0).long(), epochs=12, lr=0.02, batch_size=20, seed=0
    )
    assert history[-1].loss < 0.8 * history[0].loss
    assert all((parameter.grad != 0).any() for parameter in net.parameters())
    freeze(net)
    assert list(net.state_dict()) == names
    assert len(net.rnn._forward_pre_hooks) == len(net.rnn._forward_hooks) == hooks


@pytest.mark.parametrize("layer", ["LSTM", "GRU", "KroneckerGRU", "LSTM, applied", "LSTM, pruned"])
def test_freezing_weights_changes_nothing(layer):
    net, x = trained(prepared(Net(layer), activations=16)), samples()
    expected = net(x)
    freeze(net)
    torch.testing.assert_close(net(x), expected, rtol=0, atol=2e-6)


def test_straight_through():
    x = torch.tensor([0.3, -1.6], requires_grad=True)
    result = rounding.straight_through(x, x.round())
    result.backward(torch.tensor([2.0, 3.0]))
    assert result.tolist() == [0.0, -2.0] and x.grad.tolist() == [2.0, 3.0]


@pytest.mark.parametrize("largest", [1e-3, 0.9, 1.0, 77.77])
@pytest.mark.parametrize("power_of_two", [False, True])
def test_activations_have_the_deployed_scale(largest, power_of_two):
    grid = rounding.ActivationGrid(power_of_two)
    x = torch.linspace(-largest, largest, 1001)
    torch.testing.assert_close(grid.eval()(x), x)
    scale = formats._rounded_up(float(x.abs().max())) / 127
    scale = formats._power_of_two(scale) if power_of_two else scale
    q = grid.train()(x).double().numpy() / scale
    np.testing.assert_allclose(q, np.floor(x.double().numpy() / scale + 0.5), atol=1e-5)
    assert (grid.eval()(3 * x).double() / scale).max().item() == pytest.approx(127)


def test_what_is_joined_has_one_scale():
    x, h = rounding.ActivationGrid(False), rounding.ActivationGrid(False)
    x.observe(torch.tensor([-4.0]))
    assert x._step(h) == x._scale() == 4 / 127
    h.observe(torch.tensor([0.75]))
    assert (x._step(h) / h._scale()).item() == pytest.approx(8)
    assert h._step(x) == h._scale() == 0.75 / 127


def test_linear_layers_read_what_recurrent_ones_rounded():
    net = prepared(Net("GRU"))
    y, h = net.rnn(samples().transpose(0, 1))
    q = y / net.rnn.fake_quantizer.hidden._scale()
    assert torch.equal(q, q.round()) and torch.equal(h[0], y[-1])
    assert net.head.fake_quantizer.input is None
    assert prepared(nn.Sequential(nn.Linear(2, 2)))[0].fake_quantizer.input is not None


def test_ranges_are_kept_and_grow_in_training_only():
    net, x = prepared(Net("FastRNN")), samples()
    net.train()(x)
    state = net.state_dict()
    assert state["rnn.fake_quantizer.input.largest"] == x.abs().max()
    net.eval()(5 * x)
    assert state["rnn.fake_quantizer.input.largest"] == x.abs().max()
    again = prepared(Net("FastRNN")).eval()
    again.load_state_dict(state)
    assert torch.equal(again(x), net(x))


@pytest.mark.parametrize("layer", ["LSTM", "KroneckerLSTM", "FastRNN", "GRU, applied apart"])
def test_copies_and_exports(layer):
    net, x = trained(prepared(Net(layer)), 1), samples(3)
    other = copy.deepcopy(net)
    torch.testing.assert_close(other(x), net(x))
    program = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(program(x), net(x))
    freeze(other)
    program = torch.export.export(other, (x,)).module()
    torch.testing.assert_close(program(x), other(x))
    freeze(net)
    assert torch.equal(other(x), net(x))


def test_a_failing_layer_is_left_as_it_was():
    net = prepared(Net("LSTM"))
    fast = prepared(FastRNN(8, 12))
    for layer, weight in ((net.rnn, "weight_hh_l0"), (fast, "weight_hh")):
        with pytest.raises(RuntimeError):
            layer(torch.zeros(4, 1, 5))
        assert isinstance(getattr(layer, weight), nn.Parameter)
    assert all(isinstance(weight, nn.Parameter) for weight in net.rnn._flat_weights)


def deviation(net: nn.Module, form: str, expected: np.ndarray) -> float:
    """Of the compiled model's outputs from those ``expected`` for 20 samples, relative."""
    x = samples()[:, None].numpy()
    options = tvm_kp.Options(quantize=form, calibration={"x": x})
    compiled = tvm_kp.compile(net, "host", example_inputs=(samples(1),), options=options)
    found = tvm_kp.run(compiled.model, "host", {"x": x[:20]}).outputs["output"][:, 0]
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(
    ("layer", "form", "activations"),
    [("FastRNN", "int8", 8), ("KroneckerLSTM", "int16x8", 16), ("FastRNN, applied", "int8", 8)],
)
def test_outputs_are_those_that_are_deployed(layer, form, activations):
    """Without fake quantization they are 5e-3 and 1.5e-3 off."""
    net = trained(prepared(Net(layer), activations=activations))
    with torch.no_grad():
        expected = net(samples(20)).numpy()
    freeze(net)
    assert deviation(net, form, expected) < 5e-4


def test_wrong_use():
    with pytest.raises(ModelError, match=r"Conv1d has no layer to quantize; these are nn\.Linear"):
        prepare(nn.Conv1d(2, 2, 1))
    with pytest.raises(InputError, match="bits is 4; weights are deployed with 8"):
        prepare(nn.Linear(2, 2), bits=4)
    with pytest.raises(InputError, match="activations is 4; there are 8"):
        prepare(nn.Linear(2, 2), activations=4)
    net = prepared(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ModelError, match="Sequential is prepared already"):
        prepare(net)
    freeze(net)
    with pytest.raises(ModelError, match="Sequential has no fake quantization; prepare it first"):
        freeze(net)


@pytest.mark.parametrize(
    "form",
    [LowRank(2), Kronecker(PAIR, terms=2), Kronecker(((2, 4), (2, 1), (3, 5)))],
    ids=str,
)
def test_forms_whose_numbers_are_found_otherwise(form):
    net = Net("LSTM")
    apply(net, Plan((Choice("rnn", (form,)),)))
    with pytest.raises(ModelError, match=r"rnn has the weights .* single products of two factors"):
        prepare(net)


@pytest.mark.parametrize("form", [Kronecker(((3, 4), (2, 3))), Pruned(0.5)], ids=str)
def test_linear_layers(form):
    net, x = nn.Sequential(changed(nn.Linear(12, 6), form)), torch.randn(5, 12)
    prepare(net, activations=16)
    expected = net(x)
    freeze(net)
    torch.testing.assert_close(net(x), expected, rtol=0, atol=2e-6)


def test_gates_of_a_gru_stacked():
    net = Net("GRU")
    apply(net, Plan((Choice("rnn", (Kronecker(((6, 4), (6, 5))),), stacked=True),)))
    with pytest.raises(ModelError, match="of each gate"):
        prepare(net)
