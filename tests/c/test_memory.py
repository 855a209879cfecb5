"""What lies in which pool, and inputs in the workspace, on programs written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tvm_kp.c.memory import arrange
from tvm_kp.c.memory_settings import MemorySettings
from tvm_kp.c.program import Buffer, Call, Copy, Loop, Program, View
from tvm_kp.errors import FitError


def buffer(name: str, size: int, **settings: Any) -> Buffer:
    return Buffer(name, (size,), "float32", **settings)


def view(of: Buffer) -> View:
    return View(of, of.shape, of.dtype)


def call(inputs: list[Buffer], outputs: list[Buffer]) -> Call:
    return Call("f", tuple(map(view, inputs)), tuple(map(view, outputs)))


def places(program: Program, **settings: Any) -> dict[str, tuple[str, int]]:
    found = arrange(program, 8, MemorySettings(**settings))
    return {one.name: place for one, place in found.places.items()}


@pytest.fixture
def program() -> Program:
    """Input and output of 40 bytes, a cold buffer of 80, and two of 16 and 24 used ten times."""
    x, y = buffer("x", 10, kind="input"), buffer("y", 10, kind="output")
    cold, small, large = buffer("cold", 20), buffer("small", 4), buffer("large", 6)
    loop = Loop(10, (call([cold], [small]), call([small], [large]), call([large], [small])))
    return Program((x,), (y,), (call([x], [cold]), loop, call([small], [y])))


def test_the_first_pool_gets_what_is_used_most(program: Program) -> None:
    assert places(program, pools={"fast": 40, "slow": None}) == {
        "small": ("fast", 24),
        "large": ("fast", 0),
        "cold": ("slow", 0),
    }
    found = arrange(program, 8, MemorySettings(pools={"fast": 16, "slow": 104}))
    assert found.pools == {"fast": 16, "slow": 104}
    assert (found.workspace_bytes, found.bound) == (120, 120)


def test_a_pool_that_nothing_is_left_for(program: Program) -> None:
    found = arrange(program, 8, MemorySettings(pools={"all": None, "none": 8}))
    assert found.pools == {"all": 120}


def test_what_fits_only_the_largest_first(program: Program) -> None:
    # The hot ones would leave no room for the cold one, and room that is too small in both.
    assert places(program, pools={"a": 80, "b": 40}) == {
        "cold": ("a", 0),
        "large": ("b", 0),
        "small": ("b", 24),
    }


def test_what_is_lacking_is_said(program: Program) -> None:
    with pytest.raises(FitError, match=r"b lacks 76 bytes, 80 are needed there and 4 given"):
        arrange(program, 8, MemorySettings(pools={"a": 40, "b": 4}))


def test_inputs_and_outputs_share_memory_that_is_free(program: Program) -> None:
    found = arrange(program, 8, MemorySettings(workspace_io=True))
    # The input ends in statement 0, which writes "cold"; the output begins when that is over.
    assert found.workspace_bytes == found.bound == 120
    assert {one.name for one in found.places} == {"x", "cold", "small", "large", "y"}
    assert not found.pools


def test_an_input_that_nobody_reads_lies_apart_from_the_others() -> None:
    x, unread = buffer("x", 2, kind="input"), buffer("unread", 2, kind="input")
    y = buffer("y", 2, kind="output")
    found = places(Program((x, unread), (y,), (Copy(view(x), view(y)),)), workspace_io=True)
    assert len({found["x"], found["y"]}) == 2 and len({found["x"], found["unread"]}) == 2
