"""Views and buffers: where they lie and what they share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.c.program import Buffer, Call, Loop, Program, View, Zero


def view(buffer: Buffer, offset: int = 0, size: int | None = None, stride: int = 0) -> View:
    return View(buffer, buffer.shape if size is None else (size,), "float32", offset * 4, stride)


def test_parts_lie_in_the_outermost_buffer() -> None:
    whole = Buffer("whole", (10,), "float32")
    part = Buffer("part", (6,), "float32", parent=whole, offset=8)
    inner = Buffer("inner", (2,), "float32", parent=part, offset=12)
    assert inner.root() == (whole, 20)
    assert view(inner, 1, 1).location() == (whole, 24)
    assert view(inner).overlaps(view(part)) and view(part).overlaps(view(whole))
    assert not view(inner).overlaps(view(part, 0, 3))
    assert view(part).part(8, (1,)).location() == (whole, 16)


places = st.tuples(st.integers(0, 15), st.integers(1, 8))


@given(places, places)
def test_views_overlap_where_they_share_an_element(a: tuple[int, int], b: tuple[int, int]) -> None:
    buffer, other = (Buffer(name, (32,), "float32") for name in "ab")
    shared = set(range(a[0], sum(a))) & set(range(b[0], sum(b)))
    assert view(buffer, *a).overlaps(view(buffer, *b)) == bool(shared)
    assert not view(buffer, *a).overlaps(view(other, *b))


def test_a_view_that_moves_may_be_anywhere() -> None:
    buffer = Buffer("rows", (8,), "float32")
    assert view(buffer, 0, 1, stride=4).overlaps(view(buffer, 6, 1))
    assert not view(buffer, 0, 8, stride=4).is_whole() and view(buffer).is_whole()


def test_flat_says_which_loop_a_statement_is_in() -> None:
    buffer = Buffer("b", (4,), "float32")
    call, zero = Call("f", (), (view(buffer),)), Zero(view(buffer))
    loop = Loop(3, (call, zero))
    flat = list(Program((), (), (zero, loop, call)).flat())
    assert flat == [(zero, None), (call, loop), (zero, loop), (call, None)]
