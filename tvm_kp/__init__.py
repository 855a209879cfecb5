"""PyTorch RNNs, Kronecker factors kept, compiled to plain C for ARM Cortex-M.

The public names; each is imported when first used, because TVM and torch take seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tvm_kp.driver import Compiled, Options, build, compile, load, run
    from tvm_kp.target import Target
    from tvm_kp.tuning import tune

HOMES = {
    "Compiled": "driver",
    "Options": "driver",
    "Target": "target",
    "build": "driver",
    "compile": "driver",
    "load": "driver",
    "run": "driver",
    "tune": "tuning",
}

__all__ = [
    "Compiled",
    "Options",
    "Target",
    "__version__",
    "build",
    "compile",
    "load",
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
