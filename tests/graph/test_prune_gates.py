"""Gates that nobody reads are not computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from tvm import relax

from tvm_kp.graph import import_torch, normalize, recognize, scan
from tvm_kp.graph.prune_gates import PruneGates
from tvm_kp.graph.rewrite import bindings

op = relax.op


class Gated(nn.Module):
    """A hand-written cell that makes four gates and uses some."""

    def __init__(self, gates, bias):
        super().__init__()
        torch.manual_seed(0)
        self.of_x, self.of_h = nn.Linear(3, 20, bias=bias), nn.Linear(5, 20, bias=bias)
        self.gates = gates

    def forward(self, x):
        h = torch.zeros(len(x), 5)
        for t in range(6):
            parts = (self.of_x(x[:, t]) + self.of_h(h)).chunk(4, 1)
            h = torch.tanh(sum(parts[k] for k in self.gates))
        return h


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("gates", [(0, 1, 2), (1, 3), (2,), (3, 0)])
def test_rows_of_unread_gates_are_gone(assert_same, gates, bias, batch):
    model, x = Gated(gates, bias), torch.randn(batch, 6, 3)
    mod = normalize()(import_torch(model.eval(), (x,)))
    assert any(scan.match(binding.value) for binding in bindings(mod["main"]))
    assert {decision.shape[0] for decision in recognize(mod)} == {5 * len(gates)}
    assert_same(mod, model, x)


def test_all_gates_read(assert_same):
    model, x = Gated((0, 1, 2, 3), True), torch.randn(1, 6, 3)
    mod = normalize()(import_torch(model.eval(), (x,)))
    assert {decision.shape[0] for decision in recognize(mod)} == {20}
    assert_same(mod, model, x)


def whole_is_read(emit, total, parts):
    return emit(relax.Tuple([total, emit(parts[0])]))


def tuple_is_read(emit, _total, parts):
    return emit(relax.Tuple([emit(parts[0]), parts]))


@pytest.mark.parametrize("result", [whole_is_read, tuple_is_read])
def test_left_unchanged_where_all_is_read(module_of, assert_equal, result):
    def body(emit, x):
        weight = relax.const(torch.ones(3, 8).numpy())
        total = emit(op.matmul(x, weight))
        return result(emit, total, emit(op.split(total, 2, axis=-1)))

    before = module_of(body, x=(1, 3))
    assert_equal(PruneGates()(before), before)


@pytest.mark.parametrize(
    "source",
    [
        lambda emit, x: emit(op.nn.softmax(x)),
        lambda emit, x: x,
        lambda emit, x: emit(op.add(x, relax.const(torch.ones(1, 8).numpy()))),
    ],
    ids=["softmax", "input", "sum of an input"],
)
def test_left_unchanged_where_columns_cannot_be_taken(module_of, assert_equal, source):
    before = module_of(
        lambda emit, x: emit(emit(op.split(source(emit, x), 2, axis=-1))[0]), x=(2, 8)
    )
    assert_equal(PruneGates()(before), before)


def test_another_axis_is_left(module_of, assert_equal):
    def body(emit, x):
        total = emit(op.matmul(x, relax.const(torch.ones(3, 8).numpy())))
        return emit(emit(op.split(total, 2, axis=0))[0])

    before = module_of(body, x=(4, 3))
    assert_equal(PruneGates()(before), before)
