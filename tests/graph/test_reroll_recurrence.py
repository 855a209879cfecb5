"""Recurrent networks written as Python loops over time, in the ways that people write them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import tvm
from torch import Tensor, nn

import tvm_kp
from tvm_kp.driver import Options
from tvm_kp.graph import RerollRecurrence, import_torch, normalize, recurrences, scan
from tvm_kp.graph.rewrite import bindings

INPUTS, HIDDEN = 3, 4


class Net(nn.Module):
    """A loop over the first axis of x (T, N, I) with what its step needs."""

    def __init__(self, forward: Callable[..., object]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.gru = nn.LSTMCell(INPUTS, HIDDEN), nn.GRUCell(INPUTS, HIDDEN)
        self.rnn, self.second = nn.RNNCell(INPUTS, HIDDEN), nn.GRUCell(HIDDEN, HIDDEN)
        self.w, self.u = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.gate = nn.Linear(INPUTS + HIDDEN, HIDDEN)
        self.before, self.head = nn.Linear(INPUTS, INPUTS), nn.Linear(HIDDEN, 2)
        self.first = nn.Parameter(torch.randn(1, HIDDEN))
        self.alpha, self.zeta = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(1.0))
        self.loop = forward

    def forward(self, x: Tensor) -> object:
        return self.loop(self, x)


def zeros(x: Tensor) -> Tensor:
    return x.new_zeros(x.shape[1], HIDDEN)


def fast_rnn(net: Net, x: Tensor, h: Tensor) -> Tensor:
    candidate = torch.tanh(net.w(x) + net.u(h))
    return torch.sigmoid(net.alpha) * candidate + (1 - torch.sigmoid(net.alpha)) * h


def fast_grnn(net: Net, x: Tensor, h: Tensor) -> Tensor:
    total = net.w(x) + net.u(h)
    z, candidate = torch.sigmoid(total + 0.5), torch.tanh(total - 0.5)
    return (torch.sigmoid(net.zeta) * (1 - z) + 0.1) * candidate + z * h


def minimal_gated(net: Net, x: Tensor, h: Tensor) -> Tensor:
    f = torch.sigmoid(net.gate(torch.cat([x, h], -1)))
    return (1 - f) * h + f * torch.tanh(net.gate(torch.cat([x, f * h], -1)))


def elman(net: Net, x: Tensor, h: Tensor) -> Tensor:
    return torch.relu(net.w(x) + net.u(h))


def two_gates(net: Net, x: Tensor, h: Tensor) -> Tensor:
    a, b = torch.cat([net.w(x), net.u(h)], -1).chunk(2, -1)
    return torch.tanh(a + b) * torch.sigmoid(a) + 0.5 * h


STEPS = {f.__name__: f for f in (fast_rnn, fast_grnn, minimal_gated, elman, two_gates)}
STEPS["gru_cell"] = lambda net, x, h: net.gru(x, h)
STEPS["rnn_cell"] = lambda net, x, h: net.rnn(x, h)


def last(step: Callable[..., Tensor]) -> Callable[[Net, Tensor], Tensor]:
    """The final state of a loop over ``step``."""

    def loop(net: Net, x: Tensor) -> Tensor:
        h = zeros(x)
        for t in range(x.shape[0]):
            h = step(net, x[t], h)
        return h

    return loop


def sliced_last(net: Net, x: Tensor) -> Tensor:
    h = None
    for t in range(x.shape[0]):
        h = net.gru(x[t : t + 1].squeeze(0), h)
    return net.head(h)


def unbound_stacked(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    h, rows = zeros(x), []
    for row in x.unbind(0):
        h = fast_grnn(net, row, h)
        rows.append(h)
    return torch.stack(rows), h


def stacked_elsewhere(net: Net, x: Tensor) -> Tensor:
    h, rows = zeros(x), []
    for t in range(x.shape[0]):
        h = elman(net, x.select(0, t), h)
        rows.append(h)
    return torch.stack(rows, 1)


def concatenated(net: Net, x: Tensor) -> Tensor:
    h, rows = zeros(x), []
    for t in range(x.shape[0]):
        h = elman(net, x[t], h)
        rows.append(h.unsqueeze(0))
    return torch.cat(rows, 0)


def joined_in_width(net: Net, x: Tensor) -> Tensor:
    h, rows = zeros(x), []
    for row in x:
        h = elman(net, row, h)
        rows.append(h)
    return torch.cat(rows, -1)


def split_rows(net: Net, x: Tensor) -> Tensor:
    h = zeros(x)
    for part in x.split(1, 0):
        h = elman(net, part[0], h)
    return h


def both_states(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    h, c = zeros(x), zeros(x)
    for row in x:
        h, c = net.lstm(row, (h, c))
    return h, c


def reversed_order(net: Net, x: Tensor) -> Tensor:
    h, rows = zeros(x), []
    for t in reversed(range(x.shape[0])):
        h = elman(net, x[t], h)
        rows.insert(0, h)
    return torch.stack(rows)


def reversed_collected_forwards(net: Net, x: Tensor) -> Tensor:
    h, rows = zeros(x), []
    for t in range(x.shape[0] - 1, -1, -1):
        h = elman(net, x[t], h)
        rows.append(h)
    return torch.stack(rows)


def forwards_collected_reversed(net: Net, x: Tensor) -> Tensor:
    h, rows = zeros(x), []
    for row in x:
        h = elman(net, row, h)
        rows.append(h)
    return torch.stack(rows[::-1])


def against_the_stream(net: Net, x: Tensor) -> Tensor:
    h, steps = zeros(x), x.shape[0]
    for t in range(steps):
        h = elman(net, x[t] - 0.5 * x[steps - 1 - t], h)
    return h


def two_loops(net: Net, x: Tensor) -> Tensor:
    h, g, rows, results = zeros(x), zeros(x), [], []
    for row in x:
        h = net.gru(row, h)
        rows.append(h)
    for row in rows:
        g = net.second(row, g)
        results.append(g)
    return torch.stack(results)


def two_layers_in_one_loop(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    h, g = zeros(x), zeros(x)
    for row in x:
        h = net.gru(row, h)
        g = net.second(h, g)
    return h, g


def inside_a_network(net: Net, x: Tensor) -> Tensor:
    x, h, rows = torch.relu(net.before(x)), zeros(x), []
    for t in range(x.shape[0]):
        h = net.rnn(x[t], h)
        rows.append(h)
    return torch.softmax(net.head(torch.stack(rows).mean(0)), -1)


def head_in_the_loop(net: Net, x: Tensor) -> Tensor:
    h, rows = zeros(x), []
    for row in x:
        h = net.gru(row, h)
        rows.append(net.head(h))
    return torch.stack(rows)


def trained_initial_state(net: Net, x: Tensor) -> Tensor:
    h = net.first.expand(x.shape[1], -1)
    for row in x:
        h = fast_rnn(net, row, h)
    return h


def initial_state_from_the_input(net: Net, x: Tensor) -> Tensor:
    h = torch.tanh(net.w(x[0]))
    for row in x:
        h = elman(net, row, h)
    return h


def context_in_every_step(net: Net, x: Tensor) -> Tensor:
    h, context = zeros(x), x.mean(0)
    for row in x:
        h = elman(net, row + context, h)
    return h


def first_row_in_every_step(net: Net, x: Tensor) -> Tensor:
    h = zeros(x)
    for row in x:
        h = elman(net, row * x[0], h)
    return h


def every_second_row(net: Net, x: Tensor) -> Tensor:
    h = zeros(x)
    for t in range(0, x.shape[0], 2):
        h = elman(net, x[t], h)
    return h


def all_but_some(net: Net, x: Tensor) -> Tensor:
    h = zeros(x)
    for t in range(1, x.shape[0] - 1):
        h = elman(net, x[t], h)
    return h


def no_input(net: Net, x: Tensor) -> Tensor:
    h, rows = torch.tanh(net.w(x[0])), []
    for _ in range(x.shape[0]):
        h = torch.tanh(net.u(h) + 0.1)
        rows.append(h)
    return torch.stack(rows)


def a_row_in_the_middle(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    h, rows = zeros(x), []
    for row in x:
        h = elman(net, row, h)
        rows.append(h)
    return rows[2], rows[-1]


def first_step_of_its_own(net: Net, x: Tensor) -> Tensor:
    h = torch.tanh(net.w(x[0]))
    for t in range(1, x.shape[0]):
        h = torch.tanh(net.w(x[t]) + net.u(h))
    return h


def two_steps_back(net: Net, x: Tensor) -> Tensor:
    states = [zeros(x), zeros(x)]
    for row in x:
        states.append(torch.tanh(net.w(row) + net.u(states[-1]) + states[-2]))
    return states[-1]


ROLLED = {
    f.__name__: f
    for f in (
        *(sliced_last, unbound_stacked, stacked_elsewhere, concatenated, joined_in_width),
        *(split_rows, both_states, reversed_order, reversed_collected_forwards),
        *(forwards_collected_reversed, against_the_stream, two_loops, two_layers_in_one_loop),
        *(inside_a_network, head_in_the_loop, trained_initial_state, a_row_in_the_middle),
        *(initial_state_from_the_input, context_in_every_step, first_row_in_every_step),
        *(every_second_row, all_but_some, no_input, first_step_of_its_own, two_steps_back),
    )
}
ROLLED.update({name: last(step) for name, step in STEPS.items()})


def weights_of_their_own(net: Net, x: Tensor) -> Tensor:
    h = zeros(x)
    for t, row in enumerate(x):
        h = torch.tanh(net.w(row) + torch.mm(h, net.u.weight * (t + 1)))
    return h


def rows_out_of_order(net: Net, x: Tensor) -> Tensor:
    h = zeros(x)
    for t in (0, 2, 1, 4, 3):
        h = elman(net, x[t], h)
    return h


def constants_of_their_own(net: Net, x: Tensor) -> Tensor:
    h = zeros(x)
    for t, row in enumerate(x):
        h = torch.tanh(net.w(row) + net.u(h) * (0.1 * t))
    return h


def value_of_the_first_step(net: Net, x: Tensor) -> Tensor:
    states = [zeros(x)]
    for row in x:
        states.append(torch.tanh(net.w(row) + net.u(states[-1]) * states[min(1, len(states) - 1)]))
    return states[-1]


def two_initial_states(net: Net, x: Tensor) -> Tensor:
    h, old = zeros(x), zeros(x) + 1
    for row in x:
        h, old = torch.tanh(net.w(row) + net.u(h) + net.u(old)), old * 0.5
    return h


UNROLLED = {
    "operand 2 of matmul": weights_of_their_own,
    "operand 1 of matmul": rows_out_of_order,
    "operand 2 of multiply": constants_of_their_own,
}


def example(name: str, batch: int) -> Tensor:
    return torch.linspace(-1, 1, 7 * batch * INPUTS).reshape(7, batch, INPUTS)[
        : 7 if name == "every_second_row" else 5
    ]


def scans(mod: tvm.IRModule) -> list[scan.Scan]:
    found = (scan.match(binding.value) for binding in bindings(mod["main"]))
    return [call for call in found if call is not None]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", ROLLED)
def test_loops_are_rolled(assert_same, name, batch):
    model, x = Net(ROLLED[name]), example(name, batch)
    mod = normalize()(import_torch(model, (x,)))
    # Two loops, one over the results of the other, run as one.
    assert len(scans(mod)) == 1
    assert [one.reason for one in recurrences(mod)] == [""] * (2 if name == "two_loops" else 1)
    assert_same(mod, model, x)


@pytest.mark.parametrize("name", ROLLED)
def test_loops_in_c(name):
    model, x = Net(ROLLED[name]).eval(), example(name, 1)
    compiled = tvm_kp.compile(model, "host", example_inputs=(x,))
    outputs = list(tvm_kp.run(compiled.model, "host", {"x": x.numpy()}).outputs.values())
    with torch.no_grad():
        expected = model(x)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for found, good in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(found[0], good, rtol=0, atol=1e-5)


@pytest.mark.parametrize("reason", UNROLLED)
def test_what_differs_between_steps_is_left(assert_same, reason):
    model, x = Net(UNROLLED[reason]), example("", 1)
    mod = normalize()(import_torch(model, (x,)))
    assert scans(mod) == []
    (found,) = recurrences(mod)
    assert (found.steps, found.reason.split(" (")[0]) == (5, reason)
    assert_same(mod, model, x)


@pytest.mark.parametrize("loop", [value_of_the_first_step, two_initial_states])
def test_results_stay_whatever_is_rolled(assert_same, loop):
    model, x = Net(loop), example("", 2)
    assert_same(normalize()(import_torch(model, (x,))), model, x)


def test_reverse_order_is_that_of_the_scan():
    model, x = Net(reversed_order), example("", 1)
    (call,) = scans(normalize()(import_torch(model, (x,))))
    assert call.reverse and call.steps == 5


def test_left_unchanged_without_a_loop(assert_equal):
    mod = import_torch(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), (torch.zeros(1, 3),))
    assert_equal(RerollRecurrence()(mod), mod)


def test_two_repetitions_are_no_loop():
    x = torch.zeros(2, 1, INPUTS)
    assert scans(normalize()(import_torch(Net(last(elman)), (x,)))) == []


def test_the_module_given_stays():
    mod = import_torch(Net(last(elman)), (example("", 1),))
    before = mod.clone()
    RerollRecurrence()(mod)
    tvm.ir.assert_structural_equal(mod, before)


def test_code_does_not_grow_with_the_steps():
    def flash(steps: int, **settings) -> int:
        model, x = Net(last(STEPS["two_gates"])), torch.zeros(steps, 1, INPUTS)
        options = Options(**settings)
        compiled = tvm_kp.compile(model, "mps2-an386", example_inputs=(x,), options=options)
        return compiled.footprint.flash_bytes

    assert abs(flash(20) - flash(8)) < 64
    unrolled = {"disabled_pass": ("RerollRecurrence",)}
    assert flash(4, **unrolled) > flash(3, **unrolled) + 20
