"""Bad input through the real command line: one line on stderr, the exit code, nothing written."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tvm_kp import driver
from tvm_kp.errors import FitError
from tvm_kp.target import content_dir

BOARD = "--target=mps2-an386"


class Rnn(nn.Module):
    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x):
        return self.rnn(x)[0]


class Svd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decompose = SvdLayer()

    def forward(self, x):
        return self.decompose(x)


class SvdLayer(nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x)[1]


def spoilt(value: float) -> nn.Module:
    model = Rnn(nn.LSTM(3, 4))
    with torch.no_grad():
        model.rnn.weight_hh_l0[0, 0] = value
    return model


X = torch.zeros(3, 1, 3)
DYNAMIC = {"x": {0: torch.export.Dim("steps", min=2, max=9)}}
REFUSED = {
    "operator": (Svd(), torch.eye(3), {}, ["layer decompose (SvdLayer)", "svd", "core set"]),
    "batch": (Rnn(nn.LSTM(3, 4)), torch.zeros(3, 2, 3), {}, ["batch of 2", "batch of 1"]),
    "nan": (spoilt(float("nan")), X, {}, ["rnn.weight_hh_l0 has 1 NaN or infinite of 64"]),
    "infinite": (spoilt(float("inf")), X, {}, ["rnn.weight_hh_l0 has 1 NaN or infinite of 64"]),
    "dynamic": (nn.ReLU(), X, {"dynamic_shapes": {"input": DYNAMIC["x"]}}, ["dynamic shape"]),
    "double": (nn.Linear(3, 2).double(), X.double(), {}, ["float64", "model.float()"]),
}


def save(path: Path, model: nn.Module, x: torch.Tensor, **settings) -> Path:
    torch.export.save(torch.export.export(model.eval(), (x,), **settings), path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """An exported LSTM that compiles."""
    torch.manual_seed(0)
    return save(tmp_path_factory.mktemp("model") / "lstm.pt2", Rnn(nn.LSTM(3, 4)), X)


@pytest.fixture(scope="module")
def archive(small, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "lstm.tar"
    driver.compile(small, "mps2-an386").save(path)
    return path


@pytest.fixture
def refused(tvm_kp_main, tmp_path):
    """Runs a command that must fail with one line and leave nothing behind in ``tmp_path/out``."""
    out = tmp_path / "out"
    out.mkdir()

    def run(*arguments: object, code: int = 4, lines: int = 1) -> str:
        answer = tvm_kp_main(*arguments)
        assert answer.code == code, answer.err
        assert answer.out == ""
        assert answer.err.startswith("Error: ") and len(answer.err.splitlines()) == lines, (
            answer.err
        )
        assert "Traceback" not in answer.err
        assert list(out.iterdir()) == []
        return answer.err

    return run


@pytest.fixture
def outputs(tmp_path) -> tuple[str, ...]:
    out = tmp_path / "out"
    return ("-o", f"{out}/m.tar", "--report", f"{out}/r.html", "--json", f"{out}/v.json")


@pytest.mark.parametrize("case", REFUSED)
def test_models(refused, outputs, tmp_path, case):
    model, x, settings, words = REFUSED[case]
    path = save(tmp_path / "model.pt2", model, x, **settings)
    message = refused("compile", path, BOARD, *outputs)
    for word in words:
        assert word in message


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "state_dict", "absent"])
def test_files(refused, outputs, small, tmp_path, kind):
    path = tmp_path / "model.pt2"
    if kind == "state_dict":
        torch.save({"w": torch.zeros(2)}, path)
    elif kind != "absent":
        content = small.read_bytes()
        path.write_bytes(
            {"text": b"hello", "empty": b"", "truncated": content[: len(content) // 2]}[kind]
        )
    message = refused("compile", path, BOARD, *outputs)
    assert "model.pt2" in message and "torch.export.save" in message


def test_unknown_target_with_the_nearest_name(refused, outputs, small):
    assert "mps2-an386" in refused("compile", small, "--target=mps2-an3866", *outputs)


def board(tmp_path, old: str, new: str) -> Path:
    """A user's own board: the text of a shipped one, changed."""
    source = content_dir("targets") / "mps2-an386.toml"
    text = source.read_text().replace('name = "mps2-an386"', 'name = "mine"')
    assert old in text
    for name in ("cortex-m.ld", "startup.c"):
        shutil.copy(source.parent / name, tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    return path


def test_toml_with_an_unknown_key(refused, outputs, small, tmp_path):
    path = board(tmp_path, "isa = [", 'colour = "red"\nisa = [')
    message = refused("compile", small, "--target", path, *outputs)
    assert "mine.toml" in message and "colour" in message


def test_model_that_does_not_fit(refused, outputs, small, tmp_path):
    ram = "ram = { origin = 0x20000000, length = "
    path = board(tmp_path, f"{ram}0x00400000", f"{ram}0x40")
    message = refused("compile", small, "--target", path, *outputs, lines=len_of_table(small, path))
    assert re.match(r"Error: the model does not fit \S+: ram \d+ of 64 bytes; compress it", message)
    assert "what takes the room" in message


def len_of_table(model: Path, path: Path) -> int:
    with pytest.raises(FitError) as failure:
        driver.compile(model, str(path))
    return len(str(failure.value).splitlines())


@pytest.mark.parametrize("tool", ["compiler", "emulator"])
def test_missing_tool(refused, outputs, small, archive, monkeypatch, tmp_path, tool):
    if tool == "compiler":
        monkeypatch.setenv("PATH", str(tmp_path))
        message = refused("compile", small, BOARD, *outputs, code=5)
        assert "arm-none-eabi-gcc is not installed" in message
    else:
        found = shutil.which
        monkeypatch.setattr(shutil, "which", lambda n: None if "qemu" in n else found(n))
        message = refused("run", archive, "-o", tmp_path / "out" / "y.npz", code=5)
        assert "qemu-system-arm is not installed" in message
    assert "apt-get install" in message


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((3, 1, 4), "float32")}, ["'x'", "(3, 1, 4)", "(3, 1, 3)"]),
        ({"x": np.zeros((3, 1, 3), "float64")}, ["'x'", "float64", "float32", "astype"]),
        ({"z": np.zeros((3, 1, 3), "float32")}, ["x", "z"]),
    ],
    ids=["shape", "dtype", "name"],
)
def test_inputs(refused, archive, tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    out = tmp_path / "out" / "y.npz"
    message = refused("run", archive, "-i", tmp_path / "x.npz", "-o", out)
    for word in words:
        assert word in message


def test_inputs_that_are_no_npz(refused, archive, tmp_path):
    (tmp_path / "x.npz").write_bytes(b"hello")
    assert "x.npz" in refused("run", archive, "-i", tmp_path / "x.npz")


def test_archive_that_is_none(refused, tmp_path):
    (tmp_path / "m.tar").write_bytes(b"hello")
    assert "m.tar" in refused("run", tmp_path / "m.tar")


def test_truncated_archive(refused, archive, tmp_path):
    content = archive.read_bytes()
    (tmp_path / "m.tar").write_bytes(content[: len(content) // 2])
    assert "m.tar" in refused("run", tmp_path / "m.tar")


@pytest.mark.parametrize("place", ["absent/m.tar", ".", "/proc/m.tar", "file/m.tar"])
def test_output_that_cannot_be_written(refused, small, tmp_path, place):
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused("compile", small, BOARD, "-o", tmp_path / place)


def test_an_old_output_survives_a_failure(tvm_kp_main, tmp_path):
    path, output = save(tmp_path / "svd.pt2", Svd(), torch.eye(3)), tmp_path / "m.tar"
    output.write_bytes(b"the archive of yesterday")
    assert tvm_kp_main("compile", path, BOARD, "-o", output).code == 4
    assert output.read_bytes() == b"the archive of yesterday"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.tar", "svd.pt2"]


def test_nothing_but_the_error_reaches_stderr(tmp_path, small):
    """In a process of its own, where TVM's and torch's own lines would show too."""
    path = save(tmp_path / "svd.pt2", Svd(), torch.eye(3))
    command = [sys.executable, "-m", "tvm_kp", "compile", path, BOARD, "-o", tmp_path / "m.tar"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (4, "")
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith("Error: layer decompose (SvdLayer)")
