"""Objects: made without a compiler, linked without a warning, called like C."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tvm_kp
from tvm_kp import board, driver
from tvm_kp.board import toolchain
from tvm_kp.board.library_project import create_library
from tvm_kp.errors import InputError, TargetError
from tvm_kp.target import Target

M4, LLVM = "mps2-an386", "llvm -mcpu=cortex-m4"
STEPS = 3


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.head(self.rnn(x)[0][:, -1]), -1)


def compiled(target: str, **options: object) -> tvm_kp.Compiled:
    example = (torch.zeros(1, STEPS, 3),)
    options = tvm_kp.Options(module_name="net", **options)
    return tvm_kp.compile(Net().eval(), target, example_inputs=example, options=options)


X = np.random.default_rng(0).uniform(-1, 1, (2, 1, STEPS, 3)).astype("float32")


@pytest.fixture(scope="module")
def without_a_compiler(tmp_path_factory) -> tvm_kp.Compiled:
    """The net as an object, compiled where no program can be found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
        return compiled(LLVM)


@pytest.fixture(scope="module")
def in_c() -> tvm_kp.Compiled:
    return compiled(M4)


def test_no_compiler_is_needed(without_a_compiler) -> None:
    model, footprint = without_a_compiler.model, without_a_compiler.footprint
    assert list(model.objects) == ["net_lib0.o", "hooks/net_lib0.o"]
    assert model.sources == {} and model.core == "cortex-m4"
    assert footprint.stack_bytes is None and "expf" in footprint.uncounted
    linked = board.footprint(model, Target.load(LLVM))
    assert linked.uncounted == () and linked.code_bytes > footprint.code_bytes > 0
    assert (linked.weights_bytes, linked.tables_bytes) == (768, 2048)
    assert footprint.weights_bytes + footprint.tables_bytes == model.constants_bytes == 768 + 2048
    assert linked.ram_bytes >= footprint.ram_bytes == model.workspace_bytes + model.io_bytes


def test_the_interface_is_that_of_c(without_a_compiler, in_c) -> None:
    assert without_a_compiler.model.header == in_c.model.header
    assert without_a_compiler.model.operators == in_c.model.operators
    assert without_a_compiler.model.workspace_bytes == in_c.model.workspace_bytes


def test_an_object_is_the_same_every_time(without_a_compiler) -> None:
    assert compiled(LLVM).model.objects == without_a_compiler.model.objects


def test_it_runs_and_its_operators_are_counted(without_a_compiler, in_c) -> None:
    wanted = tvm_kp.run(in_c.model, M4, {"x": X}).outputs["output"]
    found = tvm_kp.run(without_a_compiler.model, M4, {"x": X}, profile=True)
    np.testing.assert_allclose(found.outputs["output"], wanted, rtol=0, atol=1e-5)
    assert [one.calls for one in found.operators] == [STEPS, STEPS, 1, 1]
    assert 0 < sum(one.count for one in found.operators) < found.instructions[0]


def test_its_operators_are_traced(without_a_compiler, in_c) -> None:
    found, wanted = (driver.trace(one.model, M4, {"x": X}) for one in (without_a_compiler, in_c))
    assert [one.key for one in found] == [one.key for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=0, atol=1e-5)


def test_streams_and_pools() -> None:
    options = {"stream": True, "workspace_pools": {"dtcm": None}}
    stream, sequence = compiled(LLVM, **options).model, compiled(M4).model
    assert stream.entries == ("tvmgen_net_step", "tvmgen_net_reset")
    x = X.transpose(0, 2, 1, 3)[0][:, None]  # a record for every step
    steps = tvm_kp.run(stream, M4, {stream.inputs[0].name: x}).outputs["output"]
    whole = tvm_kp.run(sequence, M4, {"x": X}).outputs["output"]
    np.testing.assert_allclose(steps[-1], whole[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "architecture", "hard"),
    [
        ("llvm -mcpu=cortex-m0plus", "v6S-M", False),
        ("llvm -mcpu=cortex-m55", "v8.1-M.mainline", True),
    ],
)
def test_objects_link_without_a_warning(spec, architecture, hard, tmp_path: Path) -> None:
    target, model = Target.load(spec), compiled(spec).model
    toolchain.write_sources(model, tmp_path)
    (made,) = toolchain.objects_of(tmp_path)
    done = subprocess.run(
        ["arm-none-eabi-readelf", "-A", str(made)], capture_output=True, text=True, check=True
    )
    assert f"Tag_CPU_arch: {architecture}\n" in done.stdout
    assert ("Tag_ABI_VFP_args: VFP registers" in done.stdout) == hard
    image, entry = tmp_path / "image.elf", f"-Wl,--fatal-warnings,-e,{model.entries[0]}"
    toolchain.link([made], target, image, ("-nostartfiles", entry))
    assert image.stat().st_size > 0


def test_what_objects_are_not_for(without_a_compiler, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in the workspace are for kind c"):
        compiled(LLVM, workspace_io=True)
    with pytest.raises(InputError, match=r"optimize is 'size': that is for kind c"):
        compiled(LLVM, optimize="size")
    with pytest.raises(TargetError, match="is an object for cortex-m4, and mps2-an500 has a"):
        tvm_kp.run(without_a_compiler.model, "mps2-an500", {"x": X})
    with pytest.raises(TargetError, match="a library for zephyr is of sources"):
        create_library(without_a_compiler.model, "zephyr", tmp_path / "z")
    assert not (tmp_path / "z").exists()
