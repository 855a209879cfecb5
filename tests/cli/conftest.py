"""The command line with a driver that answers at once and records what it was asked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tvm_kp
from tvm_kp.artifacts import RunResult
from tvm_kp.cli.main import main


@dataclass(frozen=True)
class Options:
    """The fields of the driver's options."""

    module_name: str = "default"
    dump: Path | None = None
    disabled_pass: tuple[str, ...] = ()
    factorize: bool = True
    tolerance: float = 0.0
    workspace_alignment: int = 8
    stream: bool = False
    quantize: str | None = None
    calibration: Any = None
    calibration_range: str = "min-max"
    io: str = "float32"
    allow_float: bool = False
    tuning_records: str = "shipped"
    optimize: str = "speed"
    memory_planner: str = "best"
    workspace_pools: Any = None
    workspace_io: bool = False
    constants_section: str = ".rodata.tvm"


class RecordingDriver(ModuleType):
    """Stands in for ``tvm_kp.driver``."""

    def __init__(self, compiled: Any, result: RunResult) -> None:
        super().__init__("tvm_kp.driver")
        self.Options = Options
        self.calls: dict[str, Any] = {}
        self.compiled = compiled
        self.result = result
        self.error: Exception | None = None

    def compile(self, source: Path, target: Any, *, options: Options, progress: Any) -> Any:
        self.calls |= {"source": source, "target": target, "options": options}
        if self.error is not None:
            raise self.error
        progress("import", 2.5)
        return self.compiled

    def load(self, path: Path, name: str | None = None) -> Any:
        self.calls |= {"loaded": path}
        return self.compiled.model

    def run(self, model: Any, target: Any, inputs: Any, **settings: Any) -> RunResult:
        self.calls |= {"inputs": inputs, "target": target, "settings": settings}
        return self.result


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, compiled: Any, result: RunResult) -> RecordingDriver:
    recording = RecordingDriver(compiled, result)
    monkeypatch.setitem(sys.modules, "tvm_kp.driver", recording)
    monkeypatch.setattr(tvm_kp, "driver", recording, raising=False)
    return recording


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@pytest.fixture
def tvm_kp_main(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a command line in this process; gives its exit code and what it printed."""

    def call(*arguments: object) -> Answer:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return Answer(code, printed.out, printed.err)

    return call


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "kws.pt2"
    path.write_bytes(b"program")
    return path
