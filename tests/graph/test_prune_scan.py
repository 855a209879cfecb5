from __future__ import annotations

import pytest
import torch
import tvm
from tvm import relax

from tvm_kp.graph import import_torch, normalize, scan
from tvm_kp.graph.prune_scan import PruneScan
from tvm_kp.graph.rewrite import bindings


def fields(mod):
    (found,) = (b.var for b in bindings(mod["main"]) if scan.match(b.value))
    return len(found.ty.fields)


def simplified(model, x):
    passes = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination(["main"])]
    return tvm.transform.Sequential(passes)(import_torch(model, (x,)))


@pytest.mark.parametrize("head", [lambda y, h, c: h, lambda y, h, c: c, lambda y, h, c: (c, h)])
def test_unread_sequence_is_gone(net, assert_same, head):
    model, x = net(head), torch.randn(3, 1, 3)
    before = simplified(model, x)
    after = PruneScan()(before)
    assert (fields(before), fields(after)) == (3, 2)
    relax.analysis.well_formed(after)
    assert_same(after, model, x)


def test_left_unchanged_where_all_is_read(net, assert_equal):
    before = simplified(net(lambda y, h, c: (y, h, c)), torch.zeros(3, 1, 3))
    after = PruneScan()(before)
    assert_equal(after, before)
    assert fields(after) == 3


def test_left_unchanged_where_the_tuple_is_used_as_a_whole(net):
    mod = simplified(net(lambda y, h, c: h), torch.zeros(3, 1, 3))
    call = next(b.value for b in bindings(mod["main"]) if scan.match(b.value))
    builder = relax.BlockBuilder(mod)
    found = scan.match(call)
    x = relax.Var("x", found.sequences[0].ty)
    states = [relax.Var(n, s.ty) for n, s in zip("hc", found.states, strict=True)]
    with builder.function("whole", [x, *states]):
        with builder.dataflow():
            whole = builder.emit_output(scan.scan(found.step, [x], states))
        builder.emit_func_output(whole)
    alone = builder.get()
    module = tvm.IRModule({found.step: alone[found.step.name_hint], "main": alone["whole"]})
    after = PruneScan()(module)
    assert fields(after) == 3


def test_the_module_given_stays(normalized):
    before = normalized.clone()
    PruneScan()(normalized)
    tvm.ir.assert_structural_equal(normalized, before)


def test_in_the_pipeline_only_what_is_read_is_stored(net):
    mod = normalize()(import_torch(net(lambda y, h, c: y[-1]), (torch.zeros(3, 1, 3),)))
    assert fields(mod) == 2
