from __future__ import annotations

import torch
import tvm
from tvm import relax

from tvm_kp.graph import import_torch, normalize, scan
from tvm_kp.graph.rewrite import bindings, name_of


def test_numbers_stay(normalized, assert_same, model, sample):
    assert_same(normalized, model, sample)


def test_constants_are_folded_and_the_last_output_is_the_state(net):
    model = net(lambda y, h, c: y[:, -1], batch_first=True)
    mod = normalize()(import_torch(model, (torch.zeros(1, 3, 3),)))
    names = {name_of(b.value) for b in bindings(mod["main"])}
    assert "relax.full" not in names and "relax.take" not in names
    (call,) = (found for b in bindings(mod["main"]) if (found := scan.match(b.value)))
    assert all(isinstance(state, tvm.ir.GenericConst) for state in call.states)


def test_again_changes_no_number_of_operators(normalized):
    again = normalize()(normalized)
    relax.analysis.well_formed(again)
    count = [len(bindings(mod["main"])) for mod in (normalized, again)]
    assert count[0] == count[1]


def test_parts_of_parts_of_a_weight_are_folded():
    class Split(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(6, 3))

        def forward(self, x):
            rest, third = self.weight.split([4, 2])
            first, second = rest.split([2, 2])
            return (
                torch.nn.functional.linear(x, first).sum(-1)
                + x @ second.T[:, 0]
                + x @ third.T[:, 1]
            )

    mod = normalize()(import_torch(Split(), (torch.zeros(1, 3),)))
    reads = [b.value for b in bindings(mod["main"]) if isinstance(b.value, relax.Call)]
    constants = [all(isinstance(a, tvm.ir.GenericConst) for a in call.args) for call in reads]
    assert reads and not any(constants)
