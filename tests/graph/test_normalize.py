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
