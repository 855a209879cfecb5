"""Integer modules come near the float ones, whatever the operators and the values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from tvm import relax

from tvm_kp import graph
from tvm_kp.errors import ModelError
from tvm_kp.graph.integer_operators import legalizations
from tvm_kp.graph.rewrite import bindings, name_of


def arranged(model, x):
    return graph.arrange()(graph.normalize()(graph.import_torch(model.eval(), (x,))))


def integers(mod, records, bits=8, **how):
    return graph.quantize(mod, graph.calibrate(mod, records), graph.Quantization(bits, **how))


def run(quantized, record):
    legal = relax.transform.LegalizeOps(legalizations())(graph.ExpandScan()(quantized.mod))
    vm = relax.VirtualMachine(relax.build(legal, target="llvm"), tvm.cpu())
    inputs = map(tvm.runtime.tensor, quantized.taken(record))
    return [result.numpy() for result in vm["main"](*inputs)]


class Pointwise(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


POINTWISE = {
    "relu": torch.relu,
    "abs": torch.abs,
    "square": torch.square,
    "negative": torch.neg,
    "clip": lambda x: torch.clamp(x, -0.3, 0.8),
    "leaky relu": lambda x: nn.functional.leaky_relu(x, 0.1),
    "maximum": lambda x: torch.maximum(x, -0.5 * x),
    "minimum": lambda x: torch.minimum(x * x, x + 0.25),
    "gate": lambda x: torch.sigmoid(x) * torch.tanh(x) - (1 - torch.sigmoid(3 * x)) * x,
    "vector": lambda x: x * torch.tensor([0.1, -2.0, 30.0, 0.0]) + torch.tensor([1.0, 0, 0, -5.0]),
    "tiny": lambda x: (x * 1e-4 + x * x * x * 1e-4) * 0.5,
    "large": lambda x: (x * 300 + 20) * (x * 500 - 7),
}


@pytest.mark.parametrize("name", POINTWISE)
@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_pointwise_operators(name, scale):
    x = torch.from_numpy(np.random.default_rng(0).uniform(-scale, scale, (64, 4)).astype("float32"))
    model = Pointwise(POINTWISE[name])
    expected = model(x).numpy()
    (found,) = run(integers(arranged(model, x), [[x.numpy()]], 16), [x.numpy()])
    # Inputs and results have 16 bits, constants 15.
    reach = np.abs(expected).max() + (scale if name == "clip" else 0)
    assert np.abs(found - expected).max() <= (0.02 if name == "gate" else 1e-3) * reach


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**31),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 9),
    spread=st.floats(-3, 3),
    bits=st.sampled_from([8, 16]),
)
def test_products_of_any_scale(seed, inputs, outputs, spread, bits):
    random = np.random.default_rng(seed)
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(random.normal(size=(outputs, inputs)) * 10.0**spread))
        layer.weight[0] *= 1e-3
        layer.bias.copy_(torch.from_numpy(random.normal(size=outputs) * 10.0**-spread))
    x = random.normal(size=(1, inputs)).astype("float32")
    expected = layer(torch.from_numpy(x)).detach().numpy()
    mod = arranged(layer, torch.from_numpy(x))
    (found,) = run(integers(mod, [[x]], bits), [x])
    reach = (np.abs(x) @ layer.weight.detach().numpy().T.__abs__()).max() + np.abs(expected).max()
    assert np.abs(found - expected).max() <= 0.02 * reach


def test_sums_of_many_products_do_not_overflow():
    layer = nn.Linear(3000, 2, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    x = np.ones((1, 3000), "float32")
    (found,) = run(integers(arranged(layer, torch.from_numpy(x)), [[x]], 16), [x])
    np.testing.assert_allclose(found, 3000, rtol=1e-3)


def test_what_is_zero_stays_zero():
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    x = np.zeros((1, 4), "float32")
    for record in (x, x + 1):
        (found,) = run(integers(arranged(layer, torch.from_numpy(x)), [[record]]), [record])
        np.testing.assert_array_equal(found, np.zeros((1, 3)))


def test_a_constant_channel_costs_the_others_nothing():
    torch.manual_seed(0)
    rnn = nn.GRU(5, 6)
    x = np.random.default_rng(0).uniform(-1, 1, (7, 1, 5)).astype("float32")
    x[..., 2] = 0.0
    expected, _ = rnn(torch.from_numpy(x))
    found, _ = run(integers(arranged(rnn, torch.from_numpy(x)), [[x]], 16), [x])
    assert np.abs(found - expected.detach().numpy()).max() < 2e-3


class Classifier(nn.Module):
    def __init__(self, rnn, width, last=None):
        super().__init__()
        self.rnn, self.head, self.last = rnn, nn.Linear(width, 4), last or nn.Identity()

    def forward(self, x):
        return self.last(self.head(self.rnn(x)[0][:, -1]))


X = torch.from_numpy(np.random.default_rng(1).uniform(-2, 2, (1, 9, 6)).astype("float32"))


@pytest.fixture(scope="module")
def lstm():
    torch.manual_seed(0)
    return Classifier(nn.LSTM(6, 10, batch_first=True), 10)


def test_inputs_and_outputs_as_integers(lstm):
    mod = arranged(lstm, X)
    record = [X.numpy()]
    (floats,) = run(integers(mod, [record]), record)
    for bits in (8, 16):
        quantized = integers(mod, [record], io_bits=bits)
        (found,) = run(quantized, record)
        assert found.dtype == f"int{bits}" and quantized.taken(record)[0].dtype == f"int{bits}"
        largest = np.abs(floats).max()
        assert np.abs(found * quantized.outputs[0] - floats).max() <= 0.02 * largest
        names = {name_of(b.value) for b in bindings(quantized.mod["main"])}
        step = next(f for gv, f in quantized.mod.functions_items() if gv.name_hint != "main")
        assert "float" not in step.script() and "kp.quantize" not in names


def test_formats(lstm):
    mod = arranged(lstm, X)
    tensors, _ = graph.measure(mod, integers(mod, [[X.numpy()]]), [[X.numpy()]])
    by_name = {tensor.name.split(".")[-1]: tensor for tensor in tensors}
    assert by_name["h"].bits == 8 and by_name["h"].drift and len(by_name["h"].drift) == 9
    assert by_name["c"].bits == 16 and np.log2(by_name["c"].scale).is_integer()
    gates = next(t for t in tensors if t.harmless)
    assert (gates.bits, gates.scale) == (16, 2.0**-11)
    assert all(tensor.snr_db > 25 for tensor in tensors)


class Root(nn.Module):
    def forward(self, x):
        return torch.sqrt(torch.abs(x) + 1)


class RootAmongOthers(nn.Module):
    def forward(self, x):
        return torch.sqrt(torch.abs(x) + 1) * 0.5 + x


class ProductOfTwo(nn.Module):
    def forward(self, x):
        return x @ x.T + x


@pytest.mark.parametrize("head", [Root(), RootAmongOthers(), ProductOfTwo()])
def test_an_operator_without_an_integer_form(lstm, head):
    model = Classifier(lstm.rnn, 10, head)
    mod, record = arranged(model, X), [X.numpy()]
    with pytest.raises(ModelError, match=r"relax\.\w+ has no integer form.*--allow-float"):
        integers(mod, [record])
    (found,) = run(integers(mod, [record], allow_float=True), record)
    np.testing.assert_allclose(found, model(X).detach().numpy(), rtol=0, atol=0.02)


class Largest(nn.Module):
    def forward(self, x):
        return torch.argmax(x, -1)


@pytest.mark.parametrize("head", [nn.Softmax(-1), Largest()])
@pytest.mark.parametrize("io_bits", [None, 16])
def test_heads(lstm, head, io_bits):
    model = Classifier(lstm.rnn, 10, head)
    mod, record = arranged(model, X), [X.numpy()]
    quantized = integers(mod, [record], 16, io_bits=io_bits)
    (found,) = run(quantized, record)
    if isinstance(head, nn.Softmax) and io_bits:
        assert found.dtype == "int16"
        found = found * quantized.outputs[0]
    np.testing.assert_allclose(found, model(X).detach().numpy(), rtol=0, atol=2e-3)
    assert "softmax" not in quantized.mod.script().replace("kp.softmax", "")


def test_measured_accuracy(lstm):
    mod, record = arranged(lstm, X), [X.numpy()]
    right = int(lstm(X).argmax())
    quantized = integers(mod, [record])
    _, accuracies = graph.measure(mod, quantized, [record], np.array([right]))
    assert accuracies == (1.0, 1.0)
    _, accuracies = graph.measure(mod, quantized, [record], np.array([(right + 1) % 4]))
    assert accuracies == (0.0, 0.0)


def test_the_module_is_left_as_it_is(lstm):
    mod = arranged(lstm, X)
    before = mod.script()
    integers(mod, [[X.numpy()]])
    assert mod.script() == before
