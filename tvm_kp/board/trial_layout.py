"""Where the firmware that tries kernels has its parts in a board's RAM, as templates/trials/call.h
says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tvm_kp.errors import FitError
from tvm_kp.target import Target

ALIGNMENT = 32  # of the memory of a call

# Stacks of kernels and harness, variables and what these were: each has a part.
_PARTS = 4
_LEAST_PART, _MOST_PART = 1 << 11, 1 << 16
# The MPU of ARMv6-M and ARMv7-M opens regions of powers of two, which end where a multiple of them
# does, and are closed in eighths of 1 KB or more.
_LEAST_REGION, _EIGHTHS = 1 << 13, 8


@dataclass(frozen=True)
class TrialLayout:
    """The addresses for ``target`` and memories of up to ``memory_bytes``.

    Raises FitError if those do not fit beside the harness.
    """

    target: Target
    memory_bytes: int

    def __post_init__(self) -> None:
        if self._region is None:
            room = max(map(self._room, self._regions))
            raise FitError(
                f"a trial needs {self.memory_bytes} bytes of memory, {self.target.name} has room "
                f"for {max(room, 0)}; try a smaller operator or choose a larger board"
            )

    @property
    def part_bytes(self) -> int:
        """A thirty-second of the RAM: all together are an eighth, the least that is closed."""
        share = self.target.memories["ram"].length // (_PARTS * _EIGHTHS)
        return min(max(1 << share.bit_length() - 1, _LEAST_PART), _MOST_PART)

    @property
    def harness_bytes(self) -> int:
        """Of the begin of the RAM, for all but the memory of a call."""
        return _PARTS * self.part_bytes

    @property
    def stack_bytes(self) -> int:
        """Of the harness, for all but variables."""
        return self.harness_bytes - self.part_bytes

    @property
    def room(self) -> int:
        """Bytes for the largest memory of a call."""
        return max(-(-self.memory_bytes // ALIGNMENT), 1) * ALIGNMENT

    @property
    def memory_end(self) -> int:
        """Where every memory of a call ends."""
        assert self._region is not None
        return self._end(self._region)

    def addresses(self) -> dict[str, int]:
        """What kp_memories.h defines."""
        ram, flash = self.target.memories["ram"], self.target.memories["flash"]
        addresses = {
            "CODE": flash.origin,
            "CODE_END": flash.end,
            "RAM": ram.origin,
            "SAVED": ram.origin + self.part_bytes,
            "MAIN_STACK": ram.origin + 2 * self.part_bytes,
            "VARIABLES": ram.origin + self.stack_bytes,
            "VARIABLES_END": ram.origin + self.harness_bytes,
            "MEMORY": self.memory_end - self.room,
            "MEMORY_END": self.memory_end,
        }
        if constants := self.target.memories.get("constants"):
            addresses |= {"CONSTANTS": constants.origin, "CONSTANTS_END": constants.end}
        return addresses

    @cached_property
    def _region(self) -> int | None:
        """Bytes of the smallest region that a memory fits in."""
        return next((size for size in self._regions if self._room(size) >= self.room), None)

    @property
    def _regions(self) -> tuple[int, ...]:
        length = self.target.memories["ram"].length
        return tuple(1 << k for k in range(_LEAST_REGION.bit_length() - 1, length.bit_length() + 1))

    def _end(self, region: int) -> int:
        return self.target.memories["ram"].end // region * region

    def _room(self, region: int) -> int:
        """Bytes of the ``region`` at the end of the RAM, without eighths that touch the harness."""
        eighth = region // _EIGHTHS
        harness_end = self.target.memories["ram"].origin + self.harness_bytes
        return min(region, self._end(region) - -(-harness_end // eighth) * eighth)
