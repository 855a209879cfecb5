"""Accesses are where they are asked for, and cost no addition where their pointers can go on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.c.instructions import Instructions, words

NAMES = [f"r{k}" for k in range(8)]
ACCESSES = st.lists(
    st.tuples(
        st.sampled_from(["vector", "lanes", "words"]),
        st.integers(1, 8),
        st.sampled_from(["x", "y"]),
        st.one_of(st.integers(0, 40), st.integers(-2000, 2000)).map(lambda n: 4 * n),
    ),
    max_size=12,
)


def access(code: Instructions, kind: str, count: int, pointer: str, place: int) -> None:
    if kind == "vector":
        code.vector("vld", count - 1, pointer, place)
    elif kind == "lanes":
        code.vector("vst", 2, pointer, place, 1 + count % 3)
    else:
        code.words(NAMES[:count], pointer, place)


@given(ACCESSES, ACCESSES, st.integers(2, 3), st.integers(-9, 9), st.sampled_from([0, 1000]))
def test_accesses_are_where_they_are_asked_for(
    executed: Callable, around: list, inside: list, times: int, step: int, straight: int
) -> None:
    """In a loop, which may be written out, and around it."""
    code, steps = Instructions(), {"x": 4 * step, "y": 64}

    def body(at):
        for kind, count, pointer, place in inside:
            access(code, kind, count, pointer, at[pointer] + place)

    for one in around:
        access(code, *one)
    code.repeat(times, {"x": 8, "y": 0}, steps, straight, body)
    for one in around:
        access(code, *one)
    first = [(pointer, place) for *_, pointer, place in around]
    looped = [
        (pointer, place + (8 if pointer == "x" else 0) + k * steps[pointer])
        for k in range(times)
        for *_, pointer, place in inside
    ]
    found = [(pointer, place) for _, pointer, place in executed(code.lines) if pointer]
    assert found == [*first, *looped, *first]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ((0, 16, 32), ["[%[x]], #16", "[%[x]], #16", "[%[x]]"]),
        ((32, 0), ["[%[x], #32]!", "[%[x], #-32]!"]),
        ((0, 512), ["[%[x]]", "%[x], #512", "[%[x]]"]),
    ],
)
def test_pointers_go_on_by_themselves(places: tuple[int, ...], expected: list[str]) -> None:
    code = Instructions()
    for place in places:
        code.vector("vld", 0, "x", place)
    assert [line.split(", ", 1)[1] for line in code.lines] == expected


def test_predicated_accesses_are_marked() -> None:
    code = Instructions()
    code.access("vldrht.u16 q0", "x", 16, range(-254, 255, 2))
    code.access("vldrh.u16 q1", "x", 16, range(-254, 255, 2))
    code.apart("vstrbt.32 q1", "x", 1, "q6", bits=8)
    code.apart("vldrh.u16 q1", "x", 1, "q6", bits=16)
    assert code.lines == [
        *("vpst", "vldrht.u16 q0, [%[x], #16]!", "vldrh.u16 q1, [%[x]]"),
        *("subw %[x], %[x], #15", "vpst", "vstrbt.32 q1, [%[x], q6]"),
        "vldrh.u16 q1, [%[x], q6, uxtw #1]",
    ]
    assert (code.away("x", 5), code.away("y", 5)) == (4, 5)


@pytest.mark.parametrize(("counter", "inside"), [("r9", "r8"), ("r9", "r9"), ("lr", "lr")])
def test_counters_with_other_uses_wait_in_memory(counter: str, inside: str) -> None:
    code = Instructions()
    code.loop(3, {}, {}, lambda _: code.lines.append(f"movs {inside}, #1"), counter)
    shared = counter == inside
    assert words(code.lines) == ["word1"] * shared
    assert code.lines[2] == (f"str {counter}, %[word1]" if shared else f"movs {inside}, #1")
    assert code.lines[-1] == ("le lr, 1b" if counter == "lr" else "bne 1b")


def test_registers_that_are_lent_come_back() -> None:
    code = Instructions()
    code.lend("r9", lambda: code.loop(3, {}, {}, lambda _: None, "r9"))
    assert code.lines[0] == "str r9, %[word_r9]" and code.lines[-1] == "ldr r9, %[word_r9]"


def test_loops_are_as_long_as_they_go_back() -> None:
    """LE goes back 4 KB."""
    for count, last in ((900, "le lr, 1b"), (1100, "bne 1b")):
        code = Instructions()
        code.loop(3, {}, {}, lambda _, code=code, n=count: code.lines.extend(["nop"] * n))
        assert code.lines[-1] == last
