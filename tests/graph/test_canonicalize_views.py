from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_kp.graph.canonicalize_views import VIEWS, CanonicalizeViews
from tvm_kp.graph.rewrite import bindings, name_of

op = relax.op


def split(emit, x, sections, axis):
    parts = emit(op.split(x, sections, axis=axis))
    count = sections if isinstance(sections, int) else len(sections) + 1
    return emit(relax.Tuple([emit(op.nn.relu(emit(parts[k]))) for k in range(count)]))


def part_joined(emit, x):
    """A concat of a tuple that is bound to a variable."""
    return emit(op.concat(emit(op.split(x, 2, axis=2)), axis=1))


def slices(x, axes, begin, end, strides=None):
    return op.strided_slice(x, axes=axes, begin=begin, end=end, strides=strides)


REWRITTEN = {
    "expand_dims": (lambda e, x: e(op.expand_dims(x, 1)), {"relax.reshape"}),
    "squeeze": (lambda e, x: e(op.squeeze(e(op.expand_dims(x, 0)), [0])), {"relax.reshape"}),
    "flatten": (lambda e, x: e(op.flatten(x)), {"relax.reshape"}),
    "concat of columns": (
        lambda e, x: e(op.concat([x, x], axis=-1)),
        {"relax.permute_dims", "relax.concat"},
    ),
    "concat of a bound tuple": (part_joined, {"relax.permute_dims", "relax.concat", "relax.split"}),
    "split of columns": (
        lambda e, x: split(e, x, 2, -1),
        {"relax.permute_dims", "relax.split", "relax.nn.relu"},
    ),
    "split at places": (
        lambda e, x: split(e, x, [1, 3], 2),
        {"relax.permute_dims", "relax.split", "relax.nn.relu"},
    ),
    "columns": (lambda e, x: e(slices(x, [2], [1], [3])), {"relax.take"}),
    "every second row": (lambda e, x: e(slices(x, [0], [0], [9], [2])), {"relax.take"}),
    "rows and columns": (lambda e, x: e(slices(x, [1, 2], [-1, 0], [9, -1])), {"relax.take"}),
}
UNCHANGED = {
    "concat of rows": lambda e, x: e(op.concat([x, x], axis=0)),
    "rows": lambda e, x: e(slices(x, [0], [0], [1])),
    "split of rows": lambda e, x: split(e, x, [1], 0),
    "reshape": lambda e, x: e(op.reshape(x, (-1,))),
    "real transpose": lambda e, x: e(op.permute_dims(x, [0, 2, 1])),
    "nothing to do": lambda e, x: e(op.nn.relu(x)),
}


def names(mod):
    return {name_of(b.value) for b in bindings(mod["main"])} - {""}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("case", REWRITTEN)
def test_rewritten(module_of, assert_kept, case, batch):
    body, expected = REWRITTEN[case]
    before = module_of(body, x=(batch, 2, 4))
    after = CanonicalizeViews()(before)
    found = names(after)
    if batch == 3:
        assert found <= expected and (found & expected)
        assert_kept(before, after)
    # Whatever is left of views is contiguous: batch 1 may need less than batch 3.
    assert found <= set(VIEWS) | expected
    relax.analysis.well_formed(after)


@pytest.mark.parametrize("case", UNCHANGED)
def test_left_unchanged(module_of, assert_equal, case):
    # The rows of a batch of one cannot be split.
    mod = module_of(UNCHANGED[case], x=(3, 2, 4))
    assert_equal(CanonicalizeViews()(mod), mod)


@pytest.mark.parametrize(
    ("axes", "shape", "moved"),
    [([1, 0, 2], (1, 2, 4), False), ([1, 0, 2], (3, 2, 4), True), (None, (1, 4, 1), False)],
)
def test_permute_dims_that_moves_nothing_is_a_view(module_of, assert_kept, axes, shape, moved):
    before = module_of(lambda e, x: e(op.permute_dims(x, axes)), x=shape)
    after = CanonicalizeViews()(before)
    assert names(after) == {"relax.permute_dims" if moved else "relax.reshape"}
    assert_kept(before, after)


@pytest.mark.parametrize("axis", [1, -2])
def test_leading_ones_make_an_axis_outermost(module_of, assert_equal, axis):
    mod = module_of(lambda e, x: e(op.concat([x, x], axis=axis)), x=(1, 2, 4))
    assert_equal(CanonicalizeViews()(mod), mod)


def taking(module_of, index, axis, shape, mode="fast"):
    constant = relax.const(np.array(index, "int64"))
    return module_of(lambda e, x: e(op.take(x, constant, axis=axis, mode=mode)), x=shape)


@settings(max_examples=20)
@given(st.data())
def test_a_taken_row_is_a_view(module_of, assert_kept, data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    axis = data.draw(st.integers(0, len(shape) - 1))
    shape[:axis] = [1] * axis
    index = data.draw(st.integers(0, shape[axis] - 1))
    scalar, counted_back = data.draw(st.booleans()), data.draw(st.booleans())
    along = axis - len(shape) if counted_back else axis
    before = taking(module_of, index if scalar else [index], along, shape)
    after = CanonicalizeViews()(before)
    assert names(after) == {"relax.strided_slice", "relax.reshape"}
    assert_kept(before, after)


@pytest.mark.parametrize(
    ("index", "axis", "shape", "mode"),
    [
        (1, 1, (3, 2, 4), "fast"),
        ([0, 1], 0, (3, 2, 4), "fast"),
        (3, 0, (3, 2, 4), "clip"),
        (-1, 0, (3, 2, 4), "wrap"),
        ([1], None, (3,), "fast"),
    ],
    ids=["column", "two rows", "past the end", "before the start", "no axis"],
)
def test_other_indices_are_taken(module_of, assert_equal, index, axis, shape, mode):
    mod = taking(module_of, index, axis, shape, mode)
    assert_equal(CanonicalizeViews()(mod), mod)
