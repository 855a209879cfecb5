"""What ``import tvm`` calls where tvm_kp is installed: entry point group ``tvm.backends``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tvm

PIPELINE = "tvm_kp"


def register() -> None:
    """Make ``relax.get_pipeline("tvm_kp")`` known; the passes are imported when it is asked for."""
    from tvm.relax import pipeline

    if PIPELINE not in pipeline.PIPELINE_MAP:
        pipeline.register_pipeline(PIPELINE)(build_pipeline)


def build_pipeline() -> tvm.transform.Pass:
    """For ``relax.build(mod, target, relax_pipeline="tvm_kp")`` and any target.

    Kronecker weights become factors, recurrences calls of their step, then TVM's own pipeline.
    """
    import tvm
    from tvm.relax import pipeline

    from tvm_kp.graph import ExpandScan, FactorizeKronecker

    passes = [FactorizeKronecker(), ExpandScan(), pipeline.default_build_pipeline()]
    return tvm.transform.Sequential(passes, name=PIPELINE)
