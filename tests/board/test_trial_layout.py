from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.board.trial_layout import ALIGNMENT, TrialLayout
from tvm_kp.errors import FitError
from tvm_kp.target import Memory, Target, names

BOARDS = [t for t in map(Target.load, names()) if "ram" in t.memories]
KB = 1024
# An eighth of the RAM is for the harness, and what no power of two at its end reaches is lost.
ROOMS = {"nucleo-f446re": 112, "nrf52840dk": 224, "nucleo-h743zi": 448, "mps2-an386": 3584}
ROOMS |= {"pico": 56, "nucleo-l4r5zi": 448, "nucleo-f746zg": 160}


def opened(start: int, end: int) -> tuple[int, int]:
    """What an MPU of ARMv7-M opens for a range, as isolate.c programs it."""
    size = 1 << 13
    while start // size != (end - 1) // size:
        size *= 2
    eighth = size // 8
    return start // eighth * eighth, -(-end // eighth) * eighth


@pytest.mark.parametrize("name", ROOMS)
def test_room(name: str) -> None:
    target, room = Target.load(name), ROOMS[name] * KB
    assert TrialLayout(target, room).room == room
    with pytest.raises(FitError, match=f"needs {room + 1} bytes of memory.* room for {room};"):
        TrialLayout(target, room + 1)


@given(
    board=st.sampled_from(BOARDS),
    length=st.sampled_from([16, 20, 64, 96, 320, 4096]),
    wanted=st.floats(0, 1),
)
def test_kernels_reach_nothing_that_is_closed(board: Target, length: int, wanted: float) -> None:
    ram = Memory(board.memories["ram"].origin, length * KB)
    target = replace(board, memories={**board.memories, "ram": ram})
    try:
        layout = TrialLayout(target, round(wanted * ram.length))
    except FitError:
        return
    a = layout.addresses()
    order = ("RAM", "SAVED", "MAIN_STACK", "VARIABLES", "VARIABLES_END", "MEMORY", "MEMORY_END")
    assert [a[key] for key in order] == sorted(a[key] for key in order)
    assert a["MEMORY_END"] <= ram.end and a["MEMORY"] % ALIGNMENT == 0
    assert a["MEMORY_END"] - a["MEMORY"] >= max(layout.memory_bytes, 1)
    assert opened(a["RAM"], a["SAVED"]) == (a["RAM"], a["SAVED"])
    variables = a["VARIABLES"], a["VARIABLES_END"]
    assert opened(*variables) == variables
    begin, end = opened(a["MEMORY"], a["MEMORY_END"])
    assert begin >= a["VARIABLES_END"] and end == a["MEMORY_END"]
