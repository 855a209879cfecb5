from __future__ import annotations

import torch
from torch import nn
from tvm import relax, tirx

from tvm_kp.compress.layers import KroneckerLSTM
from tvm_kp.graph import FactorizeKronecker, import_torch, legalize, normalize, scan
from tvm_kp.graph.canonicalize_views import VIEWS
from tvm_kp.graph.rewrite import bindings, name_of


def test_numbers_stay(legalized, assert_same, model, sample):
    assert_same(legalized, model, sample)


def test_only_views_scans_and_kernels_are_left(legalized):
    for function in (f for _, f in legalized.functions_items() if isinstance(f, relax.Function)):
        found = {name_of(binding.value) for binding in bindings(function)} - {""}
        assert found <= {*VIEWS, scan.OP_NAME, "relax.call_tir", "relax.permute_dims"}
    assert any(isinstance(f, tirx.PrimFunc) for _, f in legalized.functions_items())


class Factored(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = KroneckerLSTM(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        return torch.softmax(self.head(self.rnn(x)[0][-1]), -1)


def test_factored_network(assert_same):
    model, x = Factored(), torch.randn(3, 1, 4)
    mod = legalize()(FactorizeKronecker()(normalize()(import_torch(model, (x,)))))
    assert_same(mod, model, x)
