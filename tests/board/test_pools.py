"""Models whose workspace lies in pools, or has inputs in it, on a board with more memories."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tvm_kp import board
from tvm_kp.artifacts import Footprint, Model, Pool
from tvm_kp.board import toolchain
from tvm_kp.board.layout import BATCH, HOST_DRIVEN, KINDS
from tvm_kp.board.project import Project, build, create
from tvm_kp.board.session import Session
from tvm_kp.c.memory_settings import MemorySettings
from tvm_kp.c.model import make_model
from tvm_kp.errors import FitError, InputError
from tvm_kp.kernel.schedule import schedule
from tvm_kp.lowering import Options, Stages, lower, pass_context
from tvm_kp.target import Memory, Target

M4 = Target.load("mps2-an386")
DTCM, QSPI = Memory(0x21000000, 1024), Memory(0x21800000, 1 << 16)  # both are PSRAM
TARGET = replace(M4, memories={**M4.memories, "dtcm": DTCM, "qspi": QSPI})
NETWORKS = Path(__file__).parents[1] / "networks"
SETTINGS = {
    "plain": {},
    "io": {"workspace_io": True},
    "pools": {"pools": {"dtcm": 200, "other": None}, "constants_section": ".qspi"},
    "both": {"pools": {"dtcm": 200, "other": None}, "workspace_io": True},
}
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsyntax-only")
Make = Callable[..., Model]


def lowered(source: object, example: tuple[torch.Tensor, ...] | None, stream: bool = False) -> Make:
    """``make(**settings)``: the model of a network, whose operators are scheduled once."""
    options = Options(stream=stream)
    with pass_context(options):
        found = lower(source, M4, example, options, Stages(None))
        kernels = schedule(found.legal, M4.isa)

    def make(**settings: object) -> Model:
        return make_model(
            found.legal, kernels, name="m", target=M4.name, alignment=8, decisions=(),
            initial=found.initial, memory=MemorySettings(**settings),
        )  # fmt: skip

    return make


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = nn.LSTM(4, 12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][-1])


@cache
def net(stream: bool) -> Make:
    return lowered(Net(), (torch.zeros(6, 1, 4),), stream)


@cache
def answers(stream: bool) -> tuple[np.ndarray, np.ndarray]:
    """Three inputs, and what the board answers if the workspace is the model's own."""
    model = net(stream)()
    shape = (3, *model.inputs[0].shape)
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")
    return x, board.run(model, M4, {"x": x}).outputs["output"]


def symbols(project: Project) -> dict[str, tuple[int, int]]:
    """Address and bytes of what is in the firmware of ``project``."""
    command = ["arm-none-eabi-nm", "-S", build(project)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in text.splitlines())
    return {row[3]: (int(row[0], 16), int(row[1], 16)) for row in rows if len(row) == 4}


@pytest.mark.parametrize(
    ("name", "stream"), [("io", False), ("pools", False), ("both", False), ("both", True)]
)
def test_boards_answer_the_same(name: str, stream: bool, tmp_path: Path) -> None:
    (x, expected), model = answers(stream), net(stream)(**SETTINGS[name])
    project = create(model, TARGET, tmp_path / "p", kind=BATCH)
    np.testing.assert_array_equal(project.run({"x": x}).outputs["output"], expected)
    found = symbols(project)
    sizes = {name: size for name, (_, size) in found.items() if name.startswith("kp_pool_")}
    # A stream keeps so little that nothing is left for the second pool.
    assert sizes == {f"kp_pool_{pool.name}": pool.nbytes for pool in model.pools}
    assert ("kp_input_x" in found) != model.workspace_io
    for pool in sizes:
        memory = DTCM if pool == "kp_pool_dtcm" else M4.memories["ram"]
        assert memory.origin <= found[pool][0] < memory.end
    place = QSPI.origin if name == "pools" else 0
    assert found["global_const_workspace"][0] & 0xFF800000 == place


def test_sessions_want_inputs_anew(tmp_path: Path) -> None:
    x, expected = answers(True)
    project = create(net(True)(**SETTINGS["both"]), TARGET, tmp_path / "p", kind=HOST_DRIVEN)
    with Session(Project.open(project.directory)) as session:
        for one, answer in zip(x, expected, strict=True):
            np.testing.assert_array_equal(session.step(x=one)["output"], answer)
        with pytest.raises(InputError, match="'x' was not set since the last run"):
            session.run()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_header_of_a_project_has_no_warnings(name: str, kind: str, tmp_path: Path) -> None:
    folder = create(net(False)(**SETTINGS[name]), TARGET, tmp_path / "p", kind=kind).directory
    (folder / "use.c").write_text('#include "kp_model.h"\nint run(void);\nint run(void) {\n'
                                  "  return KP_START() + (int)KP_RUN() + *(char *)kp_inputs->data "
                                  "+ *(char *)kp_outputs->data;\n}\n")  # fmt: skip
    command = ["arm-none-eabi-gcc", *STRICT, "-Imodel", "-Iinclude", "use.c"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_no_firmware_allocates(kind: str, tmp_path: Path) -> None:
    found = symbols(create(net(False)(), M4, tmp_path / "p", kind=kind))
    assert "main" in found and not {name for name in found if "alloc" in name or "sbrk" in name}


@pytest.mark.parametrize("name", ["KWS-LSTM", "USPS-FastRNN"])
def test_planned_bytes_are_those_of_the_image(name: str, tmp_path: Path) -> None:
    make_network = lowered(NETWORKS / f"{name}.pt2", None)
    for settings in (SETTINGS["plain"], SETTINGS["io"]):
        model = make_network(**settings)
        sizes = dict(toolchain.footprint(model, M4).sections)
        assert sizes["global_workspace (ram)"] == model.workspace_bytes == model.workspace_bound
    model = make_network(pools={"a": 500, "b": None}, workspace_io=True)
    found = symbols(create(model, M4, tmp_path / "p", kind=BATCH))
    assert "global_workspace" not in found
    assert sum(found[f"kp_pool_{pool.name}"][1] for pool in model.pools) == model.workspace_bytes


def test_every_memory_is_checked() -> None:
    footprint = Footprint(
        300, 200, 1000, pools=(Pool("dtcm", 600), Pool("b", 50)), constants_section=".qspi"
    )
    toolchain.check_fit(footprint, TARGET)
    lengths = {"flash": 299, "ram": 399, "dtcm": 599, "qspi": 199}
    small = {n: replace(m, length=lengths[n]) for n, m in TARGET.memories.items()}
    with pytest.raises(FitError) as error:
        toolchain.check_fit(footprint, replace(TARGET, memories=small))
    for words in ("flash 300 of 299", "ram 400 of 399", "dtcm 600 of 599", "qspi 200 of 199"):
        assert words in str(error.value)


def test_pools_and_constants_count() -> None:
    make = net(False)
    plain, pools = (toolchain.footprint(make(**SETTINGS[n]), TARGET) for n in ("plain", "pools"))
    assert pools.weights_bytes == plain.weights_bytes and pools.code_bytes > 0
    more = make(**SETTINGS["pools"]).workspace_bytes - make().workspace_bytes
    assert pools.ram_bytes == plain.ram_bytes + more
