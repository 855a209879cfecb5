"""What the driver refuses, and when it notices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import tvm
from torch import nn
from tvm import relax

from tvm_kp import driver
from tvm_kp.compress.layers import KroneckerLSTM
from tvm_kp.errors import (
    FitError,
    InputError,
    MissingToolError,
    ModelError,
    OutputError,
    TargetError,
)
from tvm_kp.graph import ExpandScan
from tvm_kp.target import Memory, Target

X = torch.linspace(-1, 1, 12).reshape(3, 1, 4)


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = KroneckerLSTM(4, 8)

    def forward(self, x):
        return self.rnn(x)[0][-1]


@pytest.fixture(scope="module")
def stages() -> list[str]:
    return []


@pytest.fixture(scope="module")
def compiled(stages) -> driver.Compiled:
    return driver.compile(
        Last(), "host", example_inputs=(X,), progress=lambda name, _seconds: stages.append(name)
    )


class Decoder(nn.Module):
    """An LSTM that sees the same vector in every step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.LSTM(16, 20, batch_first=True)

    def forward(self, z):
        return self.rnn(z.unsqueeze(1).expand(-1, 12, -1))[0]


def test_an_input_that_repeats_is_multiplied_once():
    z = torch.linspace(-1, 1, 16)[None]
    measured = {}
    for passes in ((), ("HoistInvariants",)):
        options = driver.Options(disabled_pass=passes)
        compiled = driver.compile(Decoder(), "mps2-an386", example_inputs=(z,), options=options)
        result = driver.run(compiled.model, "mps2-an386", {"z": z.numpy()})
        (found,) = result.outputs.values()
        with torch.no_grad():
            np.testing.assert_allclose(found[0], Decoder()(z).numpy(), rtol=0, atol=1e-5)
        measured[passes] = compiled.footprint.ram_bytes, sum(result.instructions)
    (ram, instructions), (ram_before, instructions_before) = measured.values()
    # No sequence of the vector; of 12 products with 80 × 16 weights 11 less, an instruction a
    # weight, but their sums are read from memory, and what is left is unrolled less well.
    assert ram <= ram_before - 12 * 16 * 4 + 2 * 80 * 4
    assert instructions <= instructions_before - 11 * 80 * 11


def test_stages_are_reported_in_order(compiled, stages):
    assert stages == list(compiled.stages)
    assert stages[0] == "load TVM" and stages[-1] == "footprint"
    assert all(seconds >= 0 for seconds in compiled.stages.values())


def test_result_is_that_of_pytorch(compiled, tmp_path):
    compiled.save(tmp_path / "m.tar")
    model = driver.load(tmp_path / "m.tar")
    result = driver.run(model, "host", {"x": X.numpy()})
    with torch.no_grad():
        expected = Last()(X).numpy()
    np.testing.assert_allclose(result.outputs["output"][0], expected, rtol=0, atol=1e-5)


def test_several_models_of_one_archive(compiled, tmp_path):
    path = tmp_path / "m.tar"
    other = replace(compiled.model, name="other")
    driver.export_library([compiled, other], path)
    assert driver.load_mlf(path) == {"default": compiled.model, "other": other}
    assert driver.load(path, "other") == other
    for name, text in ((None, "several models: default, other"), ("third", "no model third")):
        with pytest.raises(ModelError, match=text):
            driver.load(path, name)


def test_relax_is_read_back(compiled, tmp_path):
    compiled.save(tmp_path / "m.tar")
    model = driver.load(tmp_path / "m.tar")
    mod = driver.relax_module(model)
    assert mod.script() == model.relax
    # With its weights, it computes what the C does.
    mod = relax.transform.LegalizeOps()(ExpandScan()(mod))
    vm = relax.VirtualMachine(relax.build(mod, target="llvm"), tvm.cpu())
    with torch.no_grad():
        expected = Last()(X).numpy()
    found = vm["main"](tvm.runtime.tensor(X.numpy()))[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    with pytest.raises(ModelError, match="cannot be read"):
        driver.relax_module(replace(model, relax_json="{"))


def test_decisions_say_what_was_done(compiled):
    (found,) = compiled.model.decisions
    assert found.structure == "kronecker joint" and found.blocks == 4


@pytest.mark.parametrize(
    "options",
    [driver.Options(factorize=False), driver.Options(disabled_pass=("FactorizeKronecker",))],
    ids=["option", "disabled pass"],
)
def test_what_is_not_factored_is_not_said_to_be(options):
    model = driver.compile(Last(), "host", example_inputs=(X,), options=options).model
    assert [d.structure for d in model.decisions] == ["dense"]
    assert model.constants_bytes > 4 * 32 * 12


def test_dump_has_the_module_after_every_pass(tmp_path):
    folder = tmp_path / "new" / "dump"
    driver.compile(Last(), "host", example_inputs=(X,), options=driver.Options(dump=folder))
    names = [path.name for path in folder.iterdir()]
    assert any("FactorizeKronecker" in name for name in names)
    assert all("class Module" in path.read_text() for path in folder.glob("*FactorizeKronecker*"))


@pytest.mark.parametrize("target", ["mps2-an38", "cortex-m99", "nowhere.toml"])
def test_unknown_target(target):
    with pytest.raises(TargetError):
        driver.compile(Last(), target, example_inputs=(X,))


def test_missing_compiler_is_noticed_first(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingToolError, match=r"arm-none-eabi-gcc is not installed.*apt-get"):
        driver.compile(object(), "mps2-an386")


def test_a_batch_for_a_board():
    with pytest.raises(ModelError, match="batch of 2"):
        driver.compile(Last(), "mps2-an386", example_inputs=(torch.zeros(3, 2, 4),))


def test_a_model_that_does_not_fit():
    board = Target.load("mps2-an386")
    small = replace(board, memories={**board.memories, "ram": Memory(0x20000000, 64)})
    with pytest.raises(FitError, match=r"does not fit mps2-an386: ram \d+ of 64 bytes"):
        driver.compile(Last(), small, example_inputs=(X,))


@pytest.mark.parametrize(
    ("inputs", "pattern"),
    [
        ({}, "input 'x' is missing"),
        ({"x": X.numpy(), "z": X.numpy()}, "no input 'z'"),
        ({"x": np.zeros((3, 1, 5), "float32")}, r"found shape \(3, 1, 5\), expected \(3, 1, 4\)"),
        ({"x": X.double().numpy()}, "found dtype float64, expected float32"),
    ],
)
def test_inputs_that_do_not_fit(compiled, inputs, pattern):
    with pytest.raises(InputError, match=pattern):
        driver.run(compiled.model, "host", inputs)


def test_archives(compiled, tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        compiled.save(tmp_path / "nowhere" / "m.tar")
    (tmp_path / "m.tar").write_bytes(b"no archive")
    for name in ("m.tar", "absent.tar"):
        with pytest.raises(ModelError, match=name):
            driver.load(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["m.tar"]


def test_a_project_folder_that_is_there(compiled, tmp_path):
    project = driver.build(compiled.model, "host", tmp_path / "project")
    with pytest.raises(OutputError):
        driver.build(compiled.model, "host", tmp_path / "project")
    assert driver.build(compiled.model, "host", tmp_path / "project", force=True) == project


def test_an_archive_for_another_core_is_refused(compiled):
    for_m4 = replace(compiled.model, target="mps2-an386")
    with pytest.raises(TargetError, match="compile it for host"):
        driver.run(for_m4, "host", {})


def test_error_of_approximate_weights_is_measured():
    torch.manual_seed(0)
    layer = nn.Linear(8, 12)
    with torch.no_grad():
        exact = torch.kron(torch.randn(3, 4), torch.randn(4, 2))
        layer.weight.copy_(exact + 1e-3 * torch.randn(12, 8))
    x = np.random.default_rng(0).uniform(-1, 1, (5, 1, 8)).astype("float32")

    def compile_with(tolerance: float) -> driver.Compiled:
        options = driver.Options(tolerance=tolerance, calibration={"input": x})
        return driver.compile(layer, "host", example_inputs=(torch.zeros(1, 8),), options=options)

    near, exactly = compile_with(0.05), compile_with(0.0)
    assert [d.structure for d in near.model.decisions] == ["kronecker"]
    (error,), (none,) = near.output_errors, exactly.output_errors
    assert (none.largest, none.relative) == (0.0, 0.0)
    found = driver.run(near.model, "host", {"input": x}).outputs["output"]
    with torch.no_grad():
        expected = layer(torch.from_numpy(x)).numpy()
    assert error.largest == pytest.approx(np.abs(found - expected).max(), rel=1e-2)
    assert 0 < error.relative < 0.01
