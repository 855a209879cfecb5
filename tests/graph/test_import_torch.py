"""PyTorch models as Relax modules: the same numbers, whatever stands around the LSTM."""

from __future__ import annotations

import sys

import pytest
import torch
import tvm
from torch import nn

from tvm_kp.compress.layers import KroneckerLSTM
from tvm_kp.errors import ModelError
from tvm_kp.graph import import_torch, normalize, scan
from tvm_kp.graph.rewrite import bindings

HEADS = {
    "sequence": lambda y, h, c: y,
    "last": lambda y, h, c: y[:, -1],
    "last kept": lambda y, h, c: y[:, -1:, :],
    "first": lambda y, h, c: y[:, 0],
    "last of leading axis": lambda y, h, c: y[-1],
    "h_n": lambda y, h, c: h,
    "c_n": lambda y, h, c: c[0],
    "all": lambda y, h, c: (y, y[:, -1], h, c),
    "last of transposed": lambda y, h, c: y.transpose(0, 1)[:, -1],
    "last of flat": lambda y, h, c: y.flatten(1)[:, -1],
    "two from the end": lambda y, h, c: y[:, -2],
}


def scans(mod: tvm.IRModule) -> list[scan.Scan]:
    found = (scan.match(binding.value) for binding in bindings(mod["main"]))
    return [call for call in found if call is not None]


READ = [(head, True) for head in HEADS] + [("all", False), ("last of leading axis", False)]


@pytest.mark.parametrize(("head", "batch_first"), READ)
def test_what_is_read_of_an_lstm(net, assert_same, head, batch_first):
    model = net(HEADS[head], batch_first=batch_first)
    x = torch.randn(2, 3, 3)
    mod = normalize()(import_torch(model, (x,)))
    assert len(scans(mod)) == 1
    # Of the first output alone one step is enough.
    assert scans(mod)[0].steps == (1 if head == "first" else 3 if batch_first else 2)
    assert_same(mod, model, x)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((4, 3), {}),
        ((4, 3), {"batch_first": True}),
        ((4, 1, 3), {"bias": False}),
        ((1, 4, 3), {"batch_first": True}),
        ((1, 1, 3), {}),
    ],
)
def test_shapes_and_bias(net, assert_same, shape, settings):
    model = net(HEADS["all"] if len(shape) == 3 else lambda y, h, c: (y, y[-1], h, c), **settings)
    x = torch.randn(shape)
    assert_same(import_torch(model, (x,)), model, x)


def test_given_initial_state(net, assert_same):
    model = net(HEADS["all"], batch_first=True)
    inputs = torch.randn(2, 3, 3), torch.randn(1, 2, 4), torch.randn(1, 2, 4)
    mod = import_torch(model, inputs)
    assert len(mod["main"].params) == 3
    assert_same(mod, model, *inputs)


class Parametrized(nn.Module):
    """W_hh = cat of four krons, through torch.nn.utils.parametrize."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4)
        nn.utils.parametrize.register_parametrization(self.lstm, "weight_hh_l0", Krons())

    def forward(self, x):
        return self.lstm(x)[0]


class Krons(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(4, 2, 2)), nn.Parameter(torch.randn(4, 2, 2))

    def forward(self, w):
        return torch.cat([torch.kron(self.a[g], self.b[g]) for g in range(4)])


class Last(nn.Module):
    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x):
        return self.rnn(x)[0][-1]


@pytest.mark.parametrize(
    "model",
    [
        Last(KroneckerLSTM(2, 4)),
        Last(KroneckerLSTM(2, 4, apart=True)),
        Last(KroneckerLSTM(2, 4, bias=False)),
    ],
    ids=["joint", "apart", "no bias"],
)
def test_kronecker_layers(assert_same, model):
    x = torch.randn(3, 1, 2)
    assert_same(import_torch(model, (x,)), model, x)


def test_weights_that_are_expressions(assert_same):
    model, x = Parametrized(), torch.randn(3, 1, 3)
    assert_same(import_torch(model, (x,)), model, x)


class Around(nn.Module):
    """Convolution, pooling, norm, two LSTMs, several outputs; an input that is an output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 3, 3, padding=1), nn.LayerNorm(3)
        self.first, self.second = nn.LSTM(3, 4, batch_first=True), nn.LSTM(4, 4, batch_first=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        found = torch.relu(self.conv(x))
        pooled = torch.max_pool1d(found, 2).transpose(1, 2)
        between, _ = self.first(self.norm(pooled))
        y, (h, _) = self.second(between)
        both = self.head(y) + between.mean(1, keepdim=True).sum(2, keepdim=True)
        return torch.softmax(both, -1).flatten(1), self.head(h[0]).reshape(5, 1), x, between[:, -1]


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(7, 3), nn.LSTM(3, 4, batch_first=True)

    def forward(self, words):
        return self.rnn(self.embedding(words))[0].reshape(-1, 4)


@pytest.mark.parametrize(
    ("model", "x"),
    [(Around(), torch.randn(1, 2, 8)), (Words(), torch.tensor([[1, 6, 0]]))],
    ids=["around", "words"],
)
def test_networks_around(assert_same, model, x):
    mod = import_torch(model, (x,))
    assert_same(mod, model, x)
    assert_same(normalize()(mod), model, x)


def test_all_sources_give_one_module(net, tmp_path):
    model, x = net(HEADS["all"], batch_first=True), torch.randn(1, 3, 3)
    program = torch.export.export(model.eval(), (x,))
    path = tmp_path / "model.pt2"
    torch.export.save(program, path)
    expected = import_torch(model, (x,))
    for source in (program, path, str(path)):
        tvm.ir.assert_structural_equal(import_torch(source), expected)


def test_names_of_the_inputs_stay(imported):
    assert [param.name for param in imported["main"].params] == ["x"]


def test_batch_is_refused_for_a_board(net):
    model = net(HEADS["last"], batch_first=True)
    with pytest.raises(ModelError, match=r"layer lstm \(LSTM\) runs a batch of 2.*batch of 1"):
        import_torch(model, (torch.zeros(2, 3, 3),), batches=False)
    assert len(scans(import_torch(model, (torch.zeros(1, 3, 3),), batches=False))) == 1


def test_what_the_importer_cannot_convert(monkeypatch):
    def fail(*_args, **_settings):
        raise AssertionError("Unsupported padding\nsecond line")

    # The package has a function of the module's name.
    module = sys.modules["tvm_kp.graph.import_torch"]
    monkeypatch.setattr(module, "from_exported_program", fail)
    with pytest.raises(ModelError, match=r"AssertionError: Unsupported padding\)") as failure:
        import_torch(nn.ReLU(), (torch.zeros(1, 3),))
    assert "\n" not in str(failure.value)
