"""Settings of memory that cannot be are refused in one sentence."""

from __future__ import annotations

import pytest

from tvm_kp.c.memory_settings import MemorySettings
from tvm_kp.errors import InputError


def test_what_can_be() -> None:
    settings = MemorySettings("exact", {"dtcm": 1, "SRAM_2": None}, True, ".ext_flash.weights")
    assert list(settings.pools) == ["dtcm", "SRAM_2"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"planner": "greedy"}, "there are best, greedy_by_size, greedy_by_conflicts, hill_climb"),
        ({"pools": {"d tcm": None}}, "'d tcm' is no name in C"),
        ({"pools": {"int": None}}, "no name in C"),
        ({"pools": {"": None}}, "no name in C"),
        ({"pools": {"a": 0}}, "a has 0 bytes; give at least 1"),
        ({"pools": {"a": 8, "A": 8}}, "a, A two would have one macro"),
        ({"constants_section": 'x"'}, "no name of a section"),
        ({"constants_section": ""}, "no name of a section"),
    ],
)
def test_what_cannot_be(settings: dict, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        MemorySettings(**settings)
    assert "\n" not in str(error.value)
