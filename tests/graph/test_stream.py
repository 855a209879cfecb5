"""A stream computes bit for bit what the whole sequence does, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tvm_kp
from tvm_kp.compress import FastGRNN, KroneckerGRU, KroneckerLSTM
from tvm_kp.driver import Options
from tvm_kp.errors import ModelError
from tvm_kp.graph import import_torch, normalize, stream

RNNS = {
    "LSTM": lambda bf: nn.LSTM(3, 6, batch_first=bf),
    "GRU, two layers": lambda bf: nn.GRU(3, 6, 2, batch_first=bf),
    "LSTM, three layers": lambda bf: nn.LSTM(3, 6, 3, batch_first=bf),
    "RNN": lambda bf: nn.RNN(3, 6, batch_first=bf),
    "Kronecker LSTM": lambda bf: KroneckerLSTM(3, 6, batch_first=bf),
    "Kronecker GRU": lambda bf: KroneckerGRU(3, 6, batch_first=bf, reset_after=False),
    "FastGRNN": lambda bf: FastGRNN(3, 6, batch_first=bf),
}


class Net(nn.Module):
    """A recurrence with what ``read`` takes of (its own linear layer, y, the final states)."""

    def __init__(self, rnn, read, batch_first, before=None) -> None:
        super().__init__()
        self.rnn, self.read, self.batch_first = rnn, read, batch_first
        self.before, self.head = before or nn.Identity(), nn.Linear(6, 5)

    def forward(self, x):
        y, states = self.rnn(self.before(x))
        return self.read(self, y, states)

    def last(self, y):
        return y[:, -1] if self.batch_first else y[-1]


READ = {
    "classes": lambda net, y, h: torch.softmax(net.head(net.last(y)), -1),
    "every output": lambda net, y, h: torch.softmax(net.head(y), -1),
    "outputs and states": lambda net, y, h: (y, h),
    "last of a product": lambda net, y, h: net.last(y) + net.last(net.head.bias.sum() * y),
}


def assert_same_bits(model, x, target="host"):
    """The stream's last results, or its rows joined, are those of the sequence."""
    axis, inputs = 1 if model.batch_first else 0, (torch.from_numpy(x),)
    compiled = tvm_kp.compile(model, target, example_inputs=inputs).model
    whole = tvm_kp.run(compiled, target, {"x": x}).outputs
    compiled = tvm_kp.compile(
        model, target, example_inputs=inputs, options=Options(stream=True)
    ).model
    assert compiled.state_bytes > 0
    rows = np.stack(np.split(x, x.shape[axis], axis))
    steps = tvm_kp.run(compiled, target, {"x": rows}).outputs
    assert list(steps) == list(whole)
    for name, expected in whole.items():
        found = steps[name][-1]
        if found.shape != expected[0].shape:
            found = np.concatenate(list(steps[name]), axis)
        np.testing.assert_array_equal(found, expected[0])


def sequence(batch_first, steps=7):
    x = np.random.default_rng(0).uniform(-1, 1, (steps, 1, 3)).astype("float32")
    return x.swapaxes(0, 1).copy() if batch_first else x


@settings(max_examples=4)
@given(st.sampled_from(sorted(RNNS)), st.sampled_from(sorted(READ)), st.booleans(), st.booleans())
def test_bits_are_those_of_the_sequence(rnn, read, batch_first, before):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 3), nn.ReLU()) if before else None
    model = Net(RNNS[rnn](batch_first), READ[read], batch_first, layers)
    assert_same_bits(model.eval(), sequence(batch_first))


def test_bits_on_a_board():
    torch.manual_seed(0)
    model = Net(RNNS["Kronecker LSTM"](True), READ["classes"], True).eval()
    assert_same_bits(model, sequence(True), "mps2-an386")


def test_two_loops_with_a_sequence_that_is_read():
    class Two(Net):
        def forward(self, x):
            y, _ = self.rnn(x)
            _, h = self.second(torch.relu(y))
            return y, h

    torch.manual_seed(0)
    model = Two(nn.GRU(3, 6), None, False)
    model.second = nn.LSTM(6, 4)
    assert_same_bits(model.eval(), sequence(False))


def refused(model, pattern):
    x = torch.from_numpy(sequence(model.batch_first))
    with pytest.raises(ModelError, match=pattern) as failure:
        stream(normalize()(import_torch(model.eval(), (x,))))
    assert "\n" not in str(failure.value)


def test_what_cannot_stream_says_why():
    gru = RNNS["GRU, two layers"](False)
    refused(Net(gru, lambda net, y, h: y.mean(0), False), "mean .* needs the whole sequence")
    refused(Net(gru, lambda net, y, h: y[2], False), "row 2 of a sequence")
    refused(Net(gru, lambda net, y, h: y.flip(0), False), "flip .* needs the whole sequence")
    both = nn.GRU(3, 6, bidirectional=True)
    refused(Net(both, lambda net, y, h: y, False), "rnn_reverse runs from the end")

    class Given(Net):
        def forward(self, x):
            return self.rnn(x, torch.tanh(self.head.weight.sum() * x[:1, :, :1].expand(2, 1, 6)))[0]

    refused(Given(gru, None, False), "starts from a state that the model computes")


def test_a_model_without_recurrence_is_refused():
    mod = import_torch(nn.Linear(3, 2), (torch.zeros(1, 3),))
    with pytest.raises(ModelError, match="no recurrence"):
        stream(normalize()(mod))
