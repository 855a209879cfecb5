from __future__ import annotations

import pytest
import torch
import tvm
from tvm import relax

from tvm_kp.graph import ExpandScan, import_torch, scan
from tvm_kp.graph.rewrite import bindings


def test_one_call_of_the_step_per_time_step(imported, assert_same, model, sample):
    before = imported.clone()
    mod = ExpandScan()(imported)
    tvm.ir.assert_structural_equal(imported, before)
    relax.analysis.well_formed(mod)
    assert not any(scan.match(b.value) for b in bindings(mod["main"]))
    calls = [
        b
        for b in bindings(mod["main"])
        if isinstance(getattr(b.value, "op", None), tvm.ir.GlobalVar)
    ]
    assert len(calls) == sample.shape[1]
    assert_same(mod, model, sample)


@pytest.mark.parametrize("steps", [1, 17])
def test_lengths(net, assert_same, steps):
    model, x = net(lambda y, h, c: (y, h)), torch.randn(steps, 1, 3)
    assert_same(import_torch(model, (x,)), model, x)


def test_left_unchanged_without_a_scan(module_of, assert_equal):
    mod = module_of(lambda emit, x: emit(relax.op.nn.relu(x)), x=(2, 3))
    assert_equal(ExpandScan()(mod), mod)
