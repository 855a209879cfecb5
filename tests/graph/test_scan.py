from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from tvm_kp.graph import scan
from tvm_kp.graph.cells import LSTMCell, Weights


def build(lengths=(5,), reverse=False):
    """A builder with a step function, and a call over sequences of these lengths."""
    builder = relax.BlockBuilder()
    weights = Weights(np.zeros((8, 3), "float32"), np.zeros((8, 2), "float32"))
    step = builder.add_func(LSTMCell(weights).step(1), "step")
    xs = [relax.Var("x", relax.TensorType((t, 1, 3), "float32")) for t in lengths]
    states = [relax.Var(n, relax.TensorType((1, 2), "float32")) for n in "hc"]
    return builder, scan.scan(step, xs, states, reverse)


def test_type_of_a_call():
    builder, call = build()
    y, h, c = builder.normalize(call).ty.fields
    assert [int(n) for n in y.shape] == [5, 1, 2]
    assert [int(n) for n in h.shape] == [int(n) for n in c.shape] == [1, 2]


def test_sequences_of_different_length_are_refused():
    builder, call = build((5, 4))
    with pytest.raises(ValueError, match=r"sequences of one length, found \[4, 5\]"):
        builder.normalize(call)


@pytest.mark.parametrize(("reverse", "order"), [(False, [0, 1, 2]), (True, [2, 1, 0])])
def test_order_in_time(reverse, order):
    found = scan.match(build((3,), reverse)[1])
    assert found is not None
    assert list(found.order()) == order


@pytest.mark.parametrize("reverse", [False, True])
def test_match_takes_apart_what_scan_put_together(reverse):
    _, call = build(reverse=reverse)
    found = scan.match(call)
    assert found is not None
    assert (found.steps, len(found.sequences), len(found.states)) == (5, 1, 2)
    assert found.step.name_hint == "step" and found.reverse == reverse
    assert scan.match(found.rebuild(found.step)) == found


@pytest.mark.parametrize(
    "other", [relax.const(1.0), relax.op.add(relax.const(1.0), relax.const(1.0))]
)
def test_match_of_anything_else(other):
    assert scan.match(other) is None
