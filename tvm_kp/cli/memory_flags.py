"""The flags that say how a model's memory is laid out."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from tvm_kp.c.memory_settings import CONSTANTS_SECTION, MemorySettings
from tvm_kp.c.planners import BEST, PLANNERS
from tvm_kp.cli.options import names
from tvm_kp.errors import InputError

TRUE, FALSE = {"1", "true"}, {"0", "false"}
# What TVM's memory planner was told by --pass-config: the values there are, and what else to do.
USMP_CONFIG = {
    "tir.usmp.enable": (TRUE, "memory is always planned at compile time; see --memory-planner"),
    "tir.usmp.algorithm": (set(PLANNERS), f"there are {', '.join(PLANNERS)}"),
    "tir.usmp.use_workspace_io": (TRUE | FALSE, "give 1 or 0"),
}
# tvmc described pools by these too, for planners that nobody wrote.
_UNUSED = (
    *("targets", "clock-frequency-hz", "read-bandwidth-bytes-per-cycle"),
    *("write-bandwidth-bytes-per-cycle", "read-latency-cycles", "write-latency-cycles"),
    "target-burst-bytes",
)


def add_memory(parser: argparse.ArgumentParser) -> None:
    """The planner, the pools that it fills, and the section of constants."""
    group = parser.add_argument_group("memory")
    group.add_argument(
        "--memory-planner",
        choices=tuple(PLANNERS),
        help="how buffers get their places in the workspace; exact proves that it is the smallest, "
        f"of some tens of buffers ({BEST}: the smallest of several cheap ways)",
    )
    group.add_argument(
        "--workspace-pools",
        type=names,
        default=(),
        metavar="A,B",
        help="memories that the caller provides instead of the model; the first gets what is used "
        "most, one that gets nothing is left out. Projects put a pool into the target's memory of "
        "the same name",
    )
    group.add_argument(
        "--workspace-pools-size-hint-bytes",
        action="append",
        default=[],
        type=names,
        metavar="A:BYTES",
        help="the bytes that there are of a pool (as many as needed)",
    )
    unused = _refuse("pools are filled in the order in which they are named; leave the flag out")
    for name in _UNUSED:
        group.add_argument(f"--workspace-pools-{name}", type=unused, help=argparse.SUPPRESS)
    group.add_argument(
        "--constants-section",
        default=CONSTANTS_SECTION,
        metavar="NAME",
        help="the section that weights go to; projects put it into the target's memory of that "
        "name (%(default)s)",
    )


def memory_options(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of ``Options`` about memory; raises ``InputError`` for flags at odds."""
    config = dict(args.pass_config or ())
    planner, algorithm = args.memory_planner, config.get("tir.usmp.algorithm")
    if planner and algorithm and planner != algorithm:
        raise InputError(
            f"--memory-planner {planner} and tir.usmp.algorithm={algorithm}: give one of the two"
        )
    settings = MemorySettings(
        planner or algorithm or BEST,
        _pools(args),
        config.get("tir.usmp.use_workspace_io", "0").lower() in TRUE,
        args.constants_section,
    )
    return {
        "memory_planner": settings.planner,
        "workspace_pools": settings.pools,
        "workspace_io": settings.workspace_io,
        "constants_section": settings.constants_section,
    }


def _pools(args: argparse.Namespace) -> dict[str, int | None]:
    """The pools in their order with their sizes; of two sizes the later one counts."""
    pools: dict[str, int | None] = dict.fromkeys(args.workspace_pools)
    for hint in (hint for hints in args.workspace_pools_size_hint_bytes for hint in hints):
        pool, _, size = hint.partition(":")
        if pool not in pools or not size.isdecimal():
            raise InputError(
                f"--workspace-pools-size-hint-bytes {hint}: expected POOL:BYTES with a pool of "
                f"--workspace-pools ({', '.join(pools) or 'none given'})"
            )
        pools[pool] = int(size)
    return pools


def _refuse(instead: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        raise argparse.ArgumentTypeError(f"{text} is not available: {instead}")

    return check
