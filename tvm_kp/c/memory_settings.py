"""How the memory of a model is to be laid out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tvm_kp.c.names import c_name
from tvm_kp.c.planners import BEST, PLANNERS
from tvm_kp.errors import InputError

CONSTANTS_SECTION = ".rodata.tvm"


@dataclass(frozen=True)
class MemorySettings:
    """``planner`` is one of ``PLANNERS``.

    ``pools`` are memories that the caller provides, with the bytes that there are, None for as
    many as needed; without any, the workspace is an array of the model's own. With
    ``workspace_io`` inputs and outputs lie in the workspace too. ``constants_section`` is the
    section of the weights. Raises ``InputError`` for what cannot be.
    """

    planner: str = BEST
    pools: Mapping[str, int | None] = field(default_factory=dict)
    workspace_io: bool = False
    constants_section: str = CONSTANTS_SECTION

    def __post_init__(self) -> None:
        if self.planner not in PLANNERS:
            raise InputError(
                f"the memory planner is {self.planner!r}; there are {', '.join(PLANNERS)}"
            )
        for pool, nbytes in self.pools.items():
            if not pool or pool != c_name(pool):
                raise InputError(f"{pool!r} is no name in C for a workspace pool; try dtcm, say")
            if nbytes is not None and nbytes < 1:
                raise InputError(f"the workspace pool {pool} has {nbytes} bytes; give at least 1")
        if len({pool.upper() for pool in self.pools}) < len(self.pools):
            raise InputError(
                f"of the workspace pools {', '.join(self.pools)} two would have one macro for "
                "their sizes in the header; rename one of them"
            )
        if not re.fullmatch(r"[\w.]+", self.constants_section, re.ASCII):
            raise InputError(
                f"{self.constants_section!r} is no name of a section; try .rodata.model, say"
            )
