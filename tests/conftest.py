"""Values of a small compiled model, attached boards, golden files, and the stages from Relax to a
model."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from tvm_kp.target import Memory, Runner, Target
from tvm_kp.uart import Uart

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


COUNTING = ("-icount", "shift=7,align=off,sleep=off")


class AttachedBoards:
    """Makes boards that the emulator plays: their flash command starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, like: Target, uart: Uart, port: str, *machine: str, **change: Any) -> Target:
        """One like ``like``, started with the arguments ``machine`` of QEMU."""
        probe = Path(__file__).parent / "probe.py"
        flash = (sys.executable, str(probe), "{image}", str(self.folder), *machine)
        runner = Runner("serial", install="apt", flash=flash, port=port, timeout_s=20)
        return replace(like, name="mine", platform="board", runner=runner, uart=uart, **change)

    def flashes(self) -> list[int]:
        """The processes that were started."""
        boards = self.folder / "boards"
        return [*map(int, boards.read_text().split())] if boards.exists() else []


@pytest.fixture
def attached_boards(tmp_path: Path) -> Iterator[AttachedBoards]:
    """Makes boards, one at a time."""
    boards = AttachedBoards(tmp_path / "board")
    boards.folder.mkdir()
    yield boards
    for process in boards.flashes():
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


@pytest.fixture
def attached_board(attached_boards: AttachedBoards) -> Target:
    """A Cortex-M4 with the memories of a Nucleo-F446RE, at rest while it waits for its line."""
    memories = {"flash": Memory(0, 0x80000), "ram": Memory(0x20000000, 0x20000)}
    port, emulated = str(attached_boards.folder / "port"), Target.load("mps2-an386")
    assert emulated.uart is not None
    machine = ("mps2-an386", *COUNTING, "-serial", "pty")
    return attached_boards(emulated, emulated.uart, port, *machine, memories=memories)


@pytest.fixture
def small_board(attached_boards: AttachedBoards) -> Target:
    """A Cortex-M0 of 16 KB of RAM, without an MPU: the nRF51 of a micro:bit."""
    uart = Uart(
        driver="steps",
        setup=(
            *("0x40008508 = 0x3", "0x40008540 = 0x3E8", "0x40008200 = 0x1", "0x40008000 = 0x1"),
            *("0x40002500 = 0x4", "0x40002000 = 0x1", "0x40002008 = 0x1"),
        ),
        read=("wait 0x40002108 & 0x1", "0x40002108 = 0x0", "byte = 0x40002518"),
        write=("0x4000211C = 0x0", "0x4000251C = byte", "wait 0x4000211C & 0x1"),
    )
    memories = {"flash": Memory(0, 0x40000), "ram": Memory(0x20000000, 0x4000)}
    core = Target.load("pico")
    flags = ("-mcpu=cortex-m0", "-mthumb", "-mfloat-abi=soft")
    change = {"core": "cortex-m0", "toolchain": replace(core.toolchain, cflags=flags)}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    machine = ("microbit", *COUNTING, "-serial", f"tcp:{address},server=on,wait=off")
    return attached_boards(core, uart, f"socket://{address}", *machine, memories=memories, **change)


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
