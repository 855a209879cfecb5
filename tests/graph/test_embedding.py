"""Tables that are Kronecker products: a row of A times a row of B."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tvm_kp
from tvm_kp.driver import Options
from tvm_kp.graph import FactorizeKronecker, RecognizeKronecker, decisions, import_torch, normalize


class Words(nn.Module):
    """An embedding whose table is a product, and what reads it."""

    def __init__(self, a, b, recurrent=False) -> None:
        super().__init__()
        torch.manual_seed(0)
        table = torch.kron(torch.randn(a), torch.randn(b))
        self.embedding = nn.Embedding(*table.shape)
        self.rnn = nn.GRU(table.shape[1], 4, batch_first=True) if recurrent else None
        with torch.no_grad():
            self.embedding.weight.copy_(table)

    def forward(self, x):
        y = self.embedding(x)
        return y if self.rnn is None else self.rnn(y)[0][:, -1]


SIDES = st.tuples(st.integers(3, 7), st.integers(3, 6))


@settings(max_examples=15)
@given(SIDES, SIDES)
def test_table_is_looked_up_in_its_factors(assert_same, a, b):
    model, x = Words(a, b).eval(), torch.arange(a[0] * b[0]).reshape(1, -1)
    mod = RecognizeKronecker()(normalize()(import_torch(model, (x,))))
    (found,) = decisions(mod)
    assert found.structure == "kronecker rows"
    assert found.bytes_after <= 4 * (a[0] * a[1] + b[0] * b[1]) < found.bytes_before
    assert (found.macs_before, found.macs_after) == (0, a[1] * b[1])
    assert_same(FactorizeKronecker()(mod), model, x)


def test_table_without_structure_stays(assert_same):
    model, x = nn.Embedding(6, 8), torch.tensor([[5, 0, 3]])
    mod = RecognizeKronecker()(normalize()(import_torch(model, (x,))))
    (found,) = decisions(mod)
    assert (found.structure, found.macs_after) == ("dense", 0)
    assert_same(FactorizeKronecker()(mod), model, x)


@pytest.mark.parametrize("streamed", [False, True])
def test_embedding_before_a_recurrence(streamed):
    model, x = Words((6, 2), (4, 4), recurrent=True).eval(), np.arange(0, 21, 3)[None]
    compiled = tvm_kp.compile(
        model,
        "host",
        example_inputs=(torch.from_numpy(x),),
        options=Options(stream=streamed),
    )
    rows = np.stack(np.split(x, 7, 1)) if streamed else x
    found = tvm_kp.run(compiled.model, "host", {"x": rows}).outputs["output"][-1]
    with torch.no_grad():
        expected = model(torch.from_numpy(x))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
