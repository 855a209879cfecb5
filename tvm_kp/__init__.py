"""PyTorch RNNs, Kronecker factors kept, compiled to plain C for ARM Cortex-M.

The public names; each is imported when first used, because TVM and torch take seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tvm_kp.board import Session
    from tvm_kp.driver import (
        Compiled,
        Options,
        build,
        compile,
        export_library,
        load,
        load_mlf,
        relax_module,
        run,
    )
    from tvm_kp.target import Target
    from tvm_kp.tuning import tune

HOMES = {
    "Compiled": "driver",
    "Options": "driver",
    "Session": "board",
    "Target": "target",
    "build": "driver",
    "compile": "driver",
    "export_library": "driver",
    "load": "driver",
    "load_mlf": "driver",
    "relax_module": "driver",
    "run": "driver",
    "tune": "tuning",
}

__all__ = [
    "Compiled",
    "Options",
    "Session",
    "Target",
    "__version__",
    "build",
    "compile",
    "export_library",
    "load",
    "load_mlf",
    "relax_module",
    "run",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'tvm_kp' has no attribute {name!r}")
    value = getattr(import_module(f"tvm_kp.{HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
