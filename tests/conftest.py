"""Values of a small compiled model, for whatever prints or writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tvm_kp.artifacts import (
    Decision,
    Footprint,
    Model,
    Operator,
    OperatorCount,
    RunResult,
    TensorSpec,
)
from tvm_kp.target import Target


@dataclass(frozen=True)
class SampleCompiled:
    """Has the fields of the driver's result."""

    model: Model
    target: Target
    footprint: Footprint
    stages: Mapping[str, float] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        path.write_bytes(b"archive")


@pytest.fixture
def decisions() -> tuple[Decision, ...]:
    factored = Decision(
        function="step",
        operator="rnn.weights",
        shape=(472, 128),
        structure="kronecker",
        reason="12.6 times fewer MACs",
        macs_before=60416,
        macs_after=4800,
        bytes_before=241664,
        bytes_after=8064,
        blocks=4,
        factors=((2, 16), (59, 8)),
        error=1.5e-8,
    )
    dense = Decision(
        function="main",
        operator="head [linear]",
        shape=(12, 118),
        structure="dense",
        reason="no structure within 1e-6",
        macs_before=1416,
        macs_after=1416,
        bytes_before=5664,
        bytes_after=5664,
    )
    return factored, dense


@pytest.fixture
def compiled(decisions: tuple[Decision, ...]) -> SampleCompiled:
    model = Model(
        name="kws",
        target="mps2-an386",
        inputs=(TensorSpec("x", (1, 25, 10), "float32"), TensorSpec("word", (2,), "int32")),
        outputs=(TensorSpec("output", (1, 12), "float32"),),
        header="",
        sources={},
        operators=(Operator("cell"), Operator("head")),
        workspace_bytes=4096,
        constants_bytes=14000,
        decisions=decisions,
    )
    footprint = Footprint(code_bytes=2048, weights_bytes=13728, ram_bytes=5500)
    return SampleCompiled(
        model, Target.load("mps2-an386"), footprint, {"import": 2.5, "emit": 0.25}
    )


@pytest.fixture
def result() -> RunResult:
    return RunResult(
        outputs={"output": np.arange(24, dtype="float32").reshape(2, 1, 12)},
        instructions=(391_000, 393_000),
        operators=(OperatorCount("head", 1, 2_000), OperatorCount("cell", 25, 389_000)),
    )
