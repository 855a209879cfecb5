from __future__ import annotations

import pytest
import torch
import tvm
from torch import nn
from tvm import relax

from tvm_kp.graph import import_torch, normalize, scan
from tvm_kp.graph.rewrite import bindings, variables
from tvm_kp.graph.take_last_state import TakeLastState

TAKEN = {
    "y[:, -1]": lambda y: y[:, -1],
    "y[:, 2]": lambda y: y[:, 2],
    "y[:, -1:]": lambda y: y[:, -1:, :],
    "transposed[-1]": lambda y: y.transpose(0, 1)[-1],
    "flattened tail": lambda y: y.reshape(y.shape[0], y.shape[1], 2, 2)[:, -1],
}
LEFT = {
    "another index": lambda y: y[:, 1],
    "another axis": lambda y: y[:, :, -1],
    "the batch": lambda y: y[-1],
    "time flattened away": lambda y: y.flatten(1)[:, -1],
    "swapped, axis 1": lambda y: y.transpose(0, 1)[:, -1],
    "reversed axes": lambda y: y.permute(2, 1, 0)[:, -1],
    "two rows": lambda y: y[:, -2:],
    "after arithmetic": lambda y: (y * 2)[:, -1],
}


def apply(net, head, batch):
    """(model, x, module before, module after)"""
    model = net(lambda y, h, c: head(y), batch_first=True)
    x = torch.randn(batch, 3, 3)
    passes = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination(["main"])]
    clean = tvm.transform.Sequential(passes)
    before = clean(import_torch(model, (x,)))
    return model, x, before, clean(TakeLastState()(before))


def reads_sequence(mod):
    return any(
        isinstance(b.value, relax.TupleGetItem) and b.value.index == 0 and is_scan(mod, b.value)
        for b in bindings(mod["main"])
    )


def is_scan(mod, item):
    return any(b.var in variables(item) and scan.match(b.value) for b in bindings(mod["main"]))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", TAKEN)
def test_last_row_is_the_state(net, name, batch):
    *_, before, after = apply(net, TAKEN[name], batch)
    assert reads_sequence(before) and not reads_sequence(after)
    relax.analysis.well_formed(after)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", LEFT)
def test_left_unchanged(net, name, batch, assert_equal):
    *_, before, after = apply(net, LEFT[name], batch)
    if batch > 1 or name not in ("reversed axes",):
        assert_equal(after, before)
    relax.analysis.well_formed(after)


@pytest.mark.parametrize("name", ["y[:, -1:]", "flattened tail"])
def test_numbers_stay(net, assert_same, name):
    model, x, _, after = apply(net, TAKEN[name], 2)
    assert_same(after, model, x)


def test_the_module_given_stays(imported):
    before = imported.clone()
    TakeLastState()(imported)
    tvm.ir.assert_structural_equal(imported, before)


def test_an_output_that_is_no_state_is_left(assert_equal):
    builder = relax.BlockBuilder()
    vector = relax.TensorType((1, 2), "float32")
    x_t, h_t = relax.Var("x_t", vector), relax.Var("h_t", vector)
    with builder.function("step", [x_t, h_t], private=True):
        with builder.dataflow():
            new = builder.emit(relax.op.add(x_t, h_t))
            out = builder.emit(relax.op.tanh(new))
            result = builder.emit_output(relax.Tuple([out, new]))
        builder.emit_func_output(result)
    step = builder.get().get_global_var("step")
    x, h = relax.Var("x", relax.TensorType((3, 1, 2), "float32")), relax.Var("h", vector)
    with builder.function("main", [x, h]):
        with builder.dataflow():
            y = builder.emit(builder.emit(scan.scan(step, [x], [h]))[0])
            last = builder.emit_output(relax.op.take(y, relax.const(2, "int64"), axis=0))
        builder.emit_func_output(last)
    mod = builder.get()
    assert_equal(TakeLastState()(mod), mod)


class Bidirectional(nn.Module):
    def __init__(self, head, layers, batch_first) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.GRU(3, 4, layers, batch_first=batch_first, bidirectional=True)
        self.head, self.batch_first = head, batch_first

    def forward(self, x):
        y, h = self.rnn(x)
        return self.head((lambda t: y[:, t]) if self.batch_first else (lambda t: y[t]), h)


# What is read, and the steps that the two directions of the last layer run.
READ = {
    "last": (lambda row, h: row(-1), [5, 1]),
    "first": (lambda row, h: row(0), [1, 5]),
    "first and last": (lambda row, h: (row(0), row(-1)), [5, 5]),
    "middle": (lambda row, h: row(2), [5, 5]),
    "last and states": (lambda row, h: (row(-1), h), [5, 5]),
}


# Every pair of values is there.
@pytest.mark.parametrize(
    ("layers", "batch_first", "batch"), [(1, False, 1), (2, True, 1), (1, True, 2), (2, False, 2)]
)
@pytest.mark.parametrize("name", READ)
def test_a_direction_that_only_its_first_step_is_read_of(
    assert_same, name, layers, batch_first, batch
):
    head, steps = READ[name]
    model = Bidirectional(head, layers, batch_first)
    shape = (batch, 5, 3) if batch_first else (5, batch, 3)
    x = torch.linspace(-1, 1, 15 * batch).reshape(shape)
    mod = normalize()(import_torch(model, (x,)))
    found = [call for b in bindings(mod["main"]) if (call := scan.match(b.value)) is not None]
    last = {call.reverse: call.steps for call in found[-2:]}
    assert [last[False], last[True]] == steps
    assert_same(mod, model, x)


def test_last_row_of_a_rolled_loop_is_its_state():
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, 4)

        def forward(self, x):
            h, rows = x.new_zeros(1, 4), []
            for row in x.unbind(1):
                h = self.cell(row, h)
                rows.append(h)
            return torch.stack(rows, 1)[:, -1]

    mod = normalize()(import_torch(Loop(), (torch.zeros(1, 5, 3),)))
    (call,) = (c for b in bindings(mod["main"]) if (c := scan.match(b.value)) is not None)
    assert len(mod[call.step].ret_ty.fields) == 1
