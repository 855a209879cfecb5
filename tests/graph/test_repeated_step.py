from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tvm import relax

from tvm_kp.graph.repeated_step import Carried, Local, Same, Slice, candidates, find
from tvm_kp.graph.unrolled import Unrolled

op = relax.op
KINDS = st.lists(st.integers(0, 5), max_size=6)


@given(KINDS, st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(3, 6), KINDS)
def test_a_repetition_is_among_the_candidates(before, step, times, after):
    # An operator of its own in the step makes its length a distance that is looked at.
    step = [*step, 9]
    kinds = np.array([*before, *step * times, *after])
    covering = [
        (start, period)
        for start, period, length in candidates(kinds)
        if period == len(step)
        and start <= len(before)
        and start + length >= len(before) + len(step) * times
    ]
    assert covering


@given(st.permutations(range(12)))
def test_nothing_repeats_where_all_differ(kinds):
    assert list(candidates(np.array(kinds))) == []


def unrolled(module_of, body, **shapes):
    return Unrolled(module_of(body, **shapes)["main"])


def weight(rows, columns, value=0.5):
    return relax.const(np.full((rows, columns), value, "float32"))


def loop(emit, x, h):
    w, u = weight(3, 4), weight(4, 4)
    for t in range(5):
        row = emit(op.take(x, relax.const(t), axis=0))
        total = emit(op.add(emit(op.matmul(row, w)), emit(op.matmul(h, u))))
        h = emit(op.tanh(total))
    return h


def test_roles_of_the_operands(module_of):
    found, refused = find(unrolled(module_of, loop, x=(5, 1, 3), h=(1, 4)))
    assert found is not None and refused == []
    assert (found.start, found.period, found.steps, found.end) == (0, 4, 5, 20)
    x_row, _, carried, _, *local, _ = found.roles
    assert isinstance(x_row, Slice) and (x_row.axis, x_row.first, x_row.stride) == (0, 0, 1)
    assert carried == Carried(3)
    assert local == [Local(0), Local(1)]
    assert [isinstance(role, Same) for role in found.roles].count(True) == 2
    assert [getattr(leaf, "name", "") for leaf in found.initial.values()] == ["h"]


def test_repetition_without_a_product_is_left(module_of):
    def body(emit, x, h):
        for _ in range(6):
            h = emit(op.tanh(emit(op.add(h, x))))
        return h

    found, refused = find(unrolled(module_of, body, x=(1, 4), h=(1, 4)))
    assert (found, refused) == (None, [])


def test_a_shorter_repetition_is_proved_where_the_longest_is_none(module_of):
    def body(emit, x, h):
        for t in range(7):
            u = weight(4, 4, 0.5 if t < 4 else 0.25)
            h = emit(op.tanh(emit(op.add(emit(op.matmul(h, u)), x))))
        return h

    found, _ = find(unrolled(module_of, body, x=(1, 4), h=(1, 4)))
    assert found is not None
    assert (found.start, found.steps) == (0, 4)
