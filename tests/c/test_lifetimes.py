"""When buffers are in use, on programs written by hand."""

from __future__ import annotations

from tvm_kp.c.lifetimes import lifetimes
from tvm_kp.c.plan import Lifetime
from tvm_kp.c.program import Buffer, Call, Copy, Loop, Program, View, Zero


def buffer(name: str, size: int = 4, **settings) -> Buffer:
    return Buffer(name, (size,), "float32", **settings)


def view(of: Buffer, stride: int = 0) -> View:
    return View(of, of.shape, of.dtype, 0, stride)


def call(inputs: list[Buffer], outputs: list[Buffer], scratch: tuple[Buffer, ...] = ()) -> Call:
    return Call("f", *(tuple(map(view, group)) for group in (inputs, outputs, scratch)))


def spans(*body) -> dict[str, tuple[int, int]]:
    found = lifetimes(Program((), (), body))
    return {b.name: (one.first, one.last) for b, one in found.items()}


def test_from_the_first_write_to_the_last_read() -> None:
    a, b, c = buffer("a"), buffer("b"), buffer("c")
    assert spans(call([], [a]), call([a], [b]), call([b], [c]), call([a, c], [b])) == {
        "a": (0, 3),
        "b": (1, 3),
        "c": (2, 3),
    }


def test_only_the_workspace_is_planned() -> None:
    x, y = buffer("x", kind="input"), buffer("y", kind="output")
    w, t = buffer("w", kind="constant"), buffer("t")
    program = Program((x,), (y,), (call([x, w], [t]), Copy(view(t), view(y))))
    assert lifetimes(program) == {t: Lifetime(16, 0, 1)}


def test_temporaries_live_during_their_call() -> None:
    a, b, s = buffer("a"), buffer("b"), buffer("s")
    assert spans(call([], [a]), call([a], [b], (s,)), call([b], [a]))["s"] == (1, 1)


def test_parts_count_for_the_whole() -> None:
    whole = buffer("whole", 8)
    part = buffer("part", parent=whole, offset=16)
    assert spans(call([], [part]), call([], [buffer("b")]), call([whole], [buffer("c")])) == {
        "whole": (0, 2),
        "b": (1, 1),
        "c": (2, 2),
    }


def test_what_a_loop_reads_lives_through_all_of_it() -> None:
    outside, inside, last = buffer("outside"), buffer("inside"), buffer("last")
    loop = Loop(3, (call([outside], [inside]), call([inside], [last])))
    found = spans(call([], [outside]), loop, call([last], [buffer("end")]))
    # Written in the loop and read after it, "last" may not share memory with "inside".
    assert found == {"outside": (0, 2), "inside": (1, 2), "last": (1, 3), "end": (3, 3)}


def test_carried_state_lives_through_the_loop() -> None:
    state, t = buffer("state", carried=True), buffer("t")
    loop = Loop(3, (call([], [t]), call([t], [state]), call([], [buffer("late")])))
    assert spans(Zero(view(state)), loop)["state"] == (0, 3)


def test_state_that_is_part_of_a_join() -> None:
    joined = buffer("joined", 8)
    state = buffer("state", carried=True, parent=joined, offset=16)
    loop = Loop(3, (call([], [buffer("t")]), call([joined], [state]), call([], [buffer("u")])))
    assert spans(Zero(view(state)), loop)["joined"] == (0, 3)


def test_inputs_and_outputs_in_the_workspace() -> None:
    x, y = buffer("x", kind="input"), buffer("y", kind="output")
    unread, t = buffer("unread", kind="input"), buffer("t")
    loop = Loop(3, (call([x], [t]), call([t], [y]), call([], [buffer("late")])))
    program = Program((x, unread), (y,), (call([], [buffer("first")]), loop))
    found = {b.name: (one.first, one.last) for b, one in lifetimes(program, True).items()}
    assert found == {
        "x": (-1, 3),  # every time step reads it
        "unread": (-1, -1),
        "first": (0, 0),
        "t": (1, 2),
        "y": (1, 4),  # every time step writes to it, and the caller reads it afterwards
        "late": (3, 3),
    }
