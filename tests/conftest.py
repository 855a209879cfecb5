"""Values of a small compiled model, golden files, and the stages from Relax to a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tvm_kp.artifacts import (
    Decision,
    Footprint,
    Model,
    Operator,
    OperatorCount,
    OutputError,
    Quantized,
    QuantizedTensor,
    Recurrence,
    RunResult,
    TensorSpec,
)
from tvm_kp.target import Target

if TYPE_CHECKING:
    import tvm

GOLDEN = Path(__file__).parent / "golden"

# The same cases on every run, and no verdict on speed: drawing shares the cores with compilers.
settings.register_profile(
    "tvm_kp", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tvm_kp")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the file of that name in tests/golden, or writes it."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no {path}; run pytest --update-golden"
        assert text == path.read_text(encoding="utf-8")

    return check


@pytest.fixture(scope="session")
def model_of() -> Callable[..., Model]:
    """A Relax module, factorized or not, through the stages that are left to its code."""
    from tvm_kp import graph
    from tvm_kp.c.model import make_model
    from tvm_kp.kernel.schedule import schedule

    def make(mod: tvm.IRModule, target: str = "host", name: str = "m", alignment: int = 8) -> Model:
        legal, loaded = graph.legalize()(mod), Target.load(target)
        kernels = schedule(legal, loaded.isa, kind=loaded.codegen.kind)
        return make_model(
            legal,
            kernels,
            name=name,
            target=loaded.name,
            alignment=alignment,
            decisions=(),
            llvm=loaded if loaded.codegen.kind == "llvm" else None,
        )

    return make


def _structured(name: str, random: np.random.Generator, blocks: int = 1) -> np.ndarray:
    def draw(*shape: int) -> np.ndarray:
        return random.uniform(-1, 1, shape).astype("float32")

    def gate() -> np.ndarray:
        if name == "kronecker sum":
            return sum(np.kron(draw(4, 6), draw(6, 6)) for _ in range(2))
        if name == "low rank":
            return draw(24, 3) @ draw(3, 36)
        if name == "hybrid":
            return np.concatenate([draw(4, 36), np.kron(draw(4, 6), draw(5, 6))])
        if name == "three factors":
            return np.kron(draw(3, 3), np.kron(draw(2, 4), draw(4, 3)))
        return np.kron(draw(4, 6), draw(6, 6))

    w = np.concatenate([gate() for _ in range(blocks)]) / np.float32(3)
    if name == "doped":
        w.flat[random.permutation(w.size)[:12]] += draw(12)
    return w


@pytest.fixture(scope="session")
def structured() -> Callable[..., np.ndarray]:
    """``structured(name, random, blocks)``: a weight of 24 rows a block, 36 columns."""
    return _structured


@dataclass(frozen=True)
class SampleCompiled:
    """Has the fields of the driver's result."""

    model: Model
    target: Target
    footprint: Footprint
    stages: Mapping[str, float] = field(default_factory=dict)
    recurrences: tuple[Recurrence, ...] = ()
    output_errors: tuple[OutputError, ...] = ()
    quantized: Quantized | None = None
    tuned: int = 0
    stale: int = 0
    damaged: int = 0

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
        operators=(
            Operator("cell", 8, ("float32", "float32")),
            Operator("head", 0, ("float32",), 5664),
        ),
        workspace_bytes=4096,
        constants_bytes=14000,
        decisions=decisions,
    )
    footprint = Footprint(code_bytes=2048, weights_bytes=13728, ram_bytes=5500)
    return SampleCompiled(
        model, Target.load("mps2-an386"), footprint, {"import": 2.5, "emit": 0.25}
    )


@pytest.fixture
def quantized() -> Quantized:
    tensors = (
        QuantizedTensor("step.h", -0.5, 0.7, 0.0055, 8, 0.025, False, 38.5, (0.1, 0.2, 0.05)),
        QuantizedTensor("lv6", -20.0, 3.0, 2.0**-11, 16, 0.5, True, float("inf")),
    )
    return Quantized("int8", "arrays", 12, tensors, (0.5, 0.25))


@pytest.fixture
def result() -> RunResult:
    return RunResult(
        outputs={"output": np.arange(24, dtype="float32").reshape(2, 1, 12)},
        instructions=(391_000, 393_000),
        operators=(OperatorCount("head", 1, 2_000), OperatorCount("cell", 25, 389_000)),
    )
