"""Recurrent layers traced whole have the shapes that PyTorch's own have."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tvm_kp.errors import ModelError
from tvm_kp.graph.rnn_operators import LAYERS, WholeRNNs

KINDS = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda *args, **settings: nn.RNN(*args, nonlinearity="relu", **settings),
}


def shapes(result):
    y, states = result
    return [tuple(t.shape) for t in (y, *(states if isinstance(states, tuple) else (states,)))]


@given(
    st.sampled_from(sorted(KINDS)), st.integers(1, 3), st.booleans(), st.booleans(), st.booleans()
)
def test_shapes_are_those_of_pytorch(kind, layers, bidirectional, batch_first, projected):
    settings = {"proj_size": 2} if projected and kind == "lstm" else {}
    model = KINDS[kind](
        3, 5, layers, batch_first=batch_first, bidirectional=bidirectional, **settings
    ).to("meta")
    x = torch.zeros(4, 7, 3, device="meta")
    with WholeRNNs():
        whole = model(x)
    assert shapes(whole) == shapes(model(x))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_layer_and_operator_are_traced_whole(kind):
    x = torch.zeros(4, 1, 3)
    stock = torch.export.export(KINDS[kind](3, 5).eval(), (x,))
    with WholeRNNs():
        ours = torch.export.export(KINDS[kind](3, 5).eval(), (x,))
        redone = stock.run_decompositions({})
    for program in (ours, redone):
        assert LAYERS[kind] in [node.target for node in program.graph.nodes]


def test_packed_sequence_is_refused():
    with WholeRNNs(), pytest.raises(ModelError, match=r"packs a sequence .*; .* the tensor itself"):
        nn.utils.rnn.pack_padded_sequence(torch.zeros(3, 2, 3), torch.tensor([3, 2]))
