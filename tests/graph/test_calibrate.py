"""The ranges of tensors, in every time step, against PyTorch running the steps one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tvm_kp import graph
from tvm_kp.compress.layers import KroneckerLSTM
from tvm_kp.errors import InputError
from tvm_kp.graph import scan
from tvm_kp.graph.rewrite import bindings

STEPS, INPUTS, HIDDEN, RECORDS = 7, 6, 10, 3


class Classifier(nn.Module):
    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(HIDDEN, 4)

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.head(y[:, -1])


def records(seed=0):
    random = np.random.default_rng(seed)
    return [random.uniform(-3, 3, (1, STEPS, INPUTS)).astype("float32") for _ in range(RECORDS)]


def module(rnn):
    torch.manual_seed(0)
    model = Classifier(rnn).eval()
    mod = graph.normalize()(graph.import_torch(model, (torch.zeros(1, STEPS, INPUTS),)))
    return model, graph.FactorizeKronecker()(mod)


def step_of(mod):
    calls = (scan.match(binding.value) for binding in bindings(mod["main"]))
    return mod[next(call.step for call in calls if call is not None)]


def ends(found):
    return found.low, found.high


@pytest.mark.parametrize("layer", [nn.LSTM, KroneckerLSTM])
def test_states_have_their_range_over_the_whole_sequence(layer):
    model, mod = module(layer(INPUTS, HIDDEN, batch_first=True))
    ranges = graph.calibrate(mod, [[x] for x in records()])
    c = []
    with torch.no_grad():
        for x in records():
            state = None
            for t in range(STEPS):
                _, state = model.rnn(torch.from_numpy(x[:, t : t + 1]), state)
                c.append(state[1].numpy())
    returned = step_of(mod).body.body
    tuples = {b.var: b.value for b in bindings(step_of(mod))}
    while returned not in ranges and not hasattr(returned, "fields"):
        returned = tuples[returned]
    low, high = ends(ranges[returned.fields[-1]])
    assert low == pytest.approx(min(0, np.min(c)), rel=1e-5)
    assert high == pytest.approx(max(0, np.max(c)), rel=1e-5)
    low, high = ends(
        ranges[step_of(mod).params[-1]]
    )  # before each step: zeros, and all but the last
    assert min(0, np.min(c)) - 1e-5 <= low and high <= np.max(c) + 1e-5


@pytest.mark.parametrize("layer", [nn.GRU, nn.RNN, nn.LSTM])
def test_every_tensor_has_a_range(layer):
    model, mod = module(layer(INPUTS, HIDDEN, batch_first=True))
    ranges = graph.calibrate(mod, [[x] for x in records()])
    outputs = [model(torch.from_numpy(x)).detach().numpy() for x in records()]
    low, high = ends(list(ranges.values())[-1])  # the logits
    assert low == pytest.approx(min(0, np.min(outputs)), rel=1e-5)
    assert high == pytest.approx(max(0, np.max(outputs)), rel=1e-5)
    inside = [b.var for b in bindings(step_of(mod)) if hasattr(b.var.ty, "shape")]
    assert inside and all(var in ranges for var in [*inside, *step_of(mod).params])
    assert ends(ranges[mod["main"].params[0]]) == (np.min(records()), np.max(records()))


def test_the_module_is_left_as_it_is():
    _, mod = module(nn.LSTM(INPUTS, HIDDEN, batch_first=True))
    before = mod.script()
    graph.calibrate(mod, [[x] for x in records()])
    assert mod.script() == before


def test_bad_records_are_refused():
    _, mod = module(nn.RNN(INPUTS, HIDDEN, batch_first=True))
    with pytest.raises(InputError, match="no calibration inputs"):
        graph.calibrate(mod, [])
    with pytest.raises(InputError, match="float32 1x7x5; the model takes float32 1x7x6"):
        graph.calibrate(mod, [[np.zeros((1, STEPS, INPUTS - 1), "float32")]])
    with pytest.raises(InputError, match="infinite or not a number"):
        graph.calibrate(mod, [[np.full((1, STEPS, INPUTS), np.nan, "float32")]])


@pytest.mark.parametrize(("method", "tail"), [("percentile", 1.0), ("mse", 3.0)])
def test_rare_values_are_clipped_where_eight_bits_hold_the_rest(method, tail):
    _, mod = module(nn.RNN(INPUTS, HIDDEN, batch_first=True))
    random = np.random.default_rng(0)
    values = random.laplace(size=(400, 1, STEPS, INPUTS)) ** tail
    data = [[one] for one in values.astype("float32")]
    x = mod["main"].params[0]
    seen, whole = graph.calibrate(mod, data, method)[x], graph.calibrate(mod, data)[x]
    assert whole.clip == whole.largest == seen.largest == np.abs(values).max().astype("float32")
    assert np.quantile(np.abs(values), 0.99) < seen.clip < 0.95 * seen.largest
