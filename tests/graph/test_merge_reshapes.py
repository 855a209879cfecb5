from __future__ import annotations

from tvm import relax

from tvm_kp.graph.merge_reshapes import MergeReshapes
from tvm_kp.graph.rewrite import bindings, name_of

op = relax.op


def test_reshapes_in_a_row_become_one(module_of, assert_kept):
    def body(emit, x):
        flat = emit(op.flatten(emit(op.expand_dims(x, 0))))
        return emit(op.tanh(emit(op.reshape(flat, (3, 2)))))

    before = module_of(body, x=(2, 3))
    after = relax.transform.DeadCodeElimination(["main"])(MergeReshapes()(before))
    names = [name_of(b.value) for b in bindings(after["main"])]
    assert [name for name in names if name] == ["relax.reshape", "relax.tanh"]
    assert_kept(before, after)


def test_what_lies_between_keeps_them_apart(module_of, assert_equal):
    def body(emit, x):
        turned = emit(op.permute_dims(emit(op.reshape(x, (3, 2)))))
        return emit(op.reshape(turned, (6,)))

    before = module_of(body, x=(2, 3))
    assert_equal(MergeReshapes()(before), before)
