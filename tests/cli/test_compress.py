"""A tiny LSTM that tells which of three values is the largest on average, from file to program."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tvm_kp import driver
from tvm_kp.cli import console
from tvm_kp.compress import fit

CODE = """\
from torch import nn

class Tiny(nn.Module):
    def __init__(self, classes=3, forward=None):
        super().__init__()
        self.rnn = nn.LSTM(4, 12, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(12, classes)
        self.change = forward or (lambda scores: scores)

    def forward(self, x):
        return self.change(self.head(self.dropout(self.rnn(x)[0][:, -1])))

def make():
    return Tiny()

def two():
    return Tiny(2)

def pair():
    return Tiny(forward=lambda scores: (scores, scores))

def per_step():
    return Tiny(forward=lambda scores: scores.unsqueeze(1))

def data_dependent():
    return Tiny(forward=lambda scores: scores if scores.sum() > 0 else -scores)

def broken():
    return {}["weights"]
"""
PLAN = ("--factor", "5")
QUICK = ("--epochs", "4", "--lr", "0.03", "--batch-size", "32")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Several only wait for each other where tensors are small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def samples(count, seed):
    x = torch.randn(count, 5, 4, generator=torch.Generator().manual_seed(seed))
    x[:, :, :3] += torch.nn.functional.one_hot(torch.arange(count) % 3, 3)[:, None]
    return x.numpy(), x[:, :, :3].mean(1).argmax(1).numpy()


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Model, trained weights and samples in the files of a folder."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "tiny.py").write_text(CODE)
    spec = importlib.util.spec_from_file_location("tiny_model", folder / "tiny.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    model, (x, y) = module.make(), samples(400, 0)
    fit(model, *map(torch.tensor, (x, y)), epochs=8, lr=0.03, batch_size=32, seed=0)
    torch.save(model.state_dict(), folder / "tiny.pt")
    np.savez(folder / "train.npz", x=x, y=y)
    x, y = samples(120, 1)
    np.savez(folder / "test.npz", x=x, y=y.astype("uint8"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(content, tmp_path, monkeypatch) -> Path:
    """The current folder, with these files."""
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def made(tvm_kp_main, folder):
    """Runs compress with trained weights; gives (what it printed, the names of new files)."""

    def call(*flags, model="tiny.py:make", weights=("--weights", "tiny.pt"), plan=PLAN, code=0):
        before = set(folder.iterdir())
        answer = tvm_kp_main("compress", model, *weights, *plan, *flags)
        assert answer.code == code, answer.err
        return answer, {path.name for path in set(folder.iterdir()) - before}

    return call


def percents(text):
    return [float(number) for number in re.findall(r"([\d.]+)%", text)]


def test_what_was_trained_is_what_is_compiled(made):
    answer, new = made("--data", "train.npz", "--test", "test.npz", *QUICK)
    assert new == {"model.pt2"}
    (row,) = (line.split() for line in answer.out.splitlines() if line.startswith("rnn"))
    assert row == ["rnn", "(3×4)⊗(4×4)", "12", "112", "6.857", "384", "768"]
    assert answer.err.splitlines() == [answer.err.strip()] and "epoch 4 of 4" in answer.err
    assert "The dense model teaches" in answer.out
    (told,) = (line for line in answer.out.splitlines() if line.startswith("Accuracy on 120"))
    dense, compressed = percents(told)
    assert dense > 85 and compressed > 80
    # Both biases are one: 4·12 more and 3·13 in the head.
    assert "3,420 → 796 bytes, 4.3 times smaller" in answer.out
    assert "tvm-kp compile model.pt2 --target" in answer.out
    x, y = samples(120, 1)
    program = torch.export.load("model.pt2").module()
    scores = torch.cat([program(torch.from_numpy(one[None])) for one in x]).detach().numpy()
    assert round(100 * float((scores.argmax(1) == y).mean()), 1) == compressed
    compiled = driver.compile(Path("model.pt2"), "host")
    outputs = driver.run(compiled.model, "host", {"x": x[:, None]}).outputs["output"]
    np.testing.assert_allclose(outputs[:, 0], scores, rtol=0, atol=1e-5)
    found = {one.structure: (one.blocks, one.factors) for one in compiled.model.decisions}
    assert found["kronecker joint"] == (4, ((3, 4), (4, 4)))


class TestResuming:
    COMMAND = ("--data", "train.npz", *QUICK)

    def weights(self):
        return torch.export.load("model.pt2").state_dict

    @pytest.mark.parametrize("place", ["model.pt2.checkpoint", "kept"])
    def test_the_same_command_goes_on(self, made, folder, monkeypatch, place):
        command = (*self.COMMAND, "--checkpoint", place) if place == "kept" else self.COMMAND
        made(*command)
        whole = self.weights()
        (folder / "model.pt2").unlink()
        with monkeypatch.context() as patch:
            patch.setattr(console, "epochs", interrupted_after_two)
            _, new = made(*command, code=130)
        assert new == {place}
        answer, _ = made(*command)
        assert f"Going on from {place}" in answer.out
        assert not (folder / place).exists()
        assert all(torch.equal(value, whole[name]) for name, value in self.weights().items())

    def test_a_checkpoint_of_another_training(self, made, folder, monkeypatch):
        monkeypatch.setattr(console, "epochs", interrupted_after_two)
        made(*self.COMMAND, code=130)
        answer, new = made("--data", "train.npz", "--epochs", "5", code=4)
        assert "delete model.pt2.checkpoint to begin anew" in answer.err
        assert (folder / "model.pt2.checkpoint").exists() and not new


class interrupted_after_two:
    """Progress that a user cuts off."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def __call__(self, number, epoch):
        if number == 1:
            raise KeyboardInterrupt


def test_a_bar_on_a_terminal(made, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    answer, _ = made("--data", "train.npz", *QUICK)
    assert "epoch 4 of 4" in answer.err and "━" in answer.err


def test_dry_run_prints_the_plan_alone(made):
    answer, new = made("--dry-run", "--data", "none.npz", "-o", "none/model.pt2")
    assert answer.err == "" and not new
    assert answer.out.startswith("Plan\n") and len(answer.out.split()) < 40
    assert "error" not in answer.out
    answer, new = made("--dry-run")
    assert "error" in answer.out and not new


def test_plan_options(made):
    def planned(*plan, code=0):
        answer, _ = made("--dry-run", plan=plan, code=code)
        return answer.out + answer.err

    assert "rnn     (3×4)⊗(4×4)" in planned("--factor", "3")
    assert "rnn     (3×8)⊗(4×2)" in planned("--factor", "3", "--objective", "macs")
    assert "head    (1×4)⊗(3×3)" in planned("--factor", "2", "--layers", "head,rnn")
    assert "the rule's shapes" in planned("--factor", "7", "--rule", "primes", code=4)
    assert "rnn     (3×4)⊗(4×4)" in planned("--budget", "400B", "--bits", "8")
    assert "too small" in planned("--budget", "400B", code=4)


def test_without_data_errors_are_told(made):
    answer, new = made("--example-shape", "1,5,4", "-o", "near.pt2")
    assert answer.err.startswith("Warning: no --data: ") and answer.err.count("\n") == 1
    assert new == {"near.pt2"}
    (row,) = (line.split() for line in answer.out.splitlines() if line.startswith("rnn"))
    program = torch.export.load("near.pt2")
    assert 0.1 < float(row[-1]) < 1
    assert program.module()(torch.zeros(1, 5, 4)).shape == (1, 3)


def test_small_enough_already(made, folder):
    """Nothing is trained, and so no checkpoint touched."""
    (folder / "notes").write_text("mine")
    command = ("--data", "train.npz", "--checkpoint", "notes")
    answer, new = made(*command, plan=("--budget", "1MB"))
    assert (folder / "notes").read_text() == "mine"
    assert "nothing is compressed" in answer.out and answer.err == ""
    before, after = percents(next(x for x in answer.out.splitlines() if "Accuracy" in x))
    assert before == after and new == {"model.pt2"}
    answer, _ = made("--example-shape", "1,5,4", plan=("--budget", "1MB"))
    assert answer.err == ""


@pytest.mark.parametrize(
    ("flags", "weights", "words"),
    [
        ((), (), "The dense model does not teach: it is right in "),
        (("--start", "random"), ("--weights", "tiny.pt"), "The dense model teaches"),
        (("--no-distill",), ("--weights", "tiny.pt"), None),
    ],
)
def test_who_teaches(made, flags, weights, words):
    answer, _ = made("--data", "train.npz", *QUICK, *flags, weights=weights)
    assert words in answer.out if words else "teach" not in answer.out
    assert "Accuracy on 40 held-out samples" in answer.out


def test_a_seed_decides_everything(made):
    """What the factory draws and which samples are held out too."""
    outputs = []
    for seed in ("1", "1", "2"):
        made("--data", "train.npz", *QUICK, "--start", "random", "--seed", seed, weights=())
        outputs.append(torch.export.load("model.pt2").state_dict["head.weight"])
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])


def save_samples(**changes):
    x, y = samples(40, 0)
    arrays = {"x": x, "y": y} | changes
    np.savez("other.npz", **{name: value for name, value in arrays.items() if value is not None})


X, Y = samples(40, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y": None}, "other.npz has x; it needs x"),
        ({"x": X.astype("float64")}, "x in other.npz is float64 (40, 5, 4); give samples"),
        ({"x": X[:, 0, 0]}, "x in other.npz is float32 (40,)"),
        ({"x": X[:0], "y": Y[:0]}, "x in other.npz is float32 (0, 5, 4)"),
        ({"x": np.full_like(X, np.nan)}, "has NaN or infinite values"),
        ({"x": X[:30]}, "y in other.npz is int64 (40,); give the class of each of the 30"),
        ({"y": Y.astype("float32")}, "y in other.npz is float32"),
        ({"y": np.eye(3, dtype="int64")[Y]}, "y in other.npz is int64 (40, 3)"),
        ({"y": Y - 1}, "has the class -1; classes count from 0"),
        ({"y": Y + 1}, "has the class 3, and Tiny gives scores of 3 classes, 0 to 2"),
        ({"x": X[:, :, :3]}, "Tiny cannot take samples (5, 3), of which other.npz has"),
        ({"x": X[:1], "y": Y[:1]}, "other.npz has one sample"),
    ],
    ids=str,
)
def test_samples_that_do_not_fit(made, changes, words):
    save_samples(**changes)
    answer, new = made("--data", "other.npz", code=4)
    assert words in answer.err
    assert answer.err.count("\n") == 1 and answer.out == "" and not new


def test_test_samples_that_do_not_fit(made):
    save_samples(y=Y + 1)
    answer, _ = made("--data", "train.npz", "--test", "other.npz", code=4)
    assert "y in other.npz has the class 3" in answer.err


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("none.py:make", "no file none.py"),
        ("tiny.pt", "give FILE.py:FACTORY --weights tiny.pt"),
        ("tiny.py:nothing", "tiny.py has no function nothing; there are Tiny, make, two"),
        ("tiny.py:broken", "tiny.py raised KeyError: 'weights' (line 30)"),
        ("tiny.py:two", "tiny.pt does not fit Tiny: size mismatch for head.weight"),
        ("tiny.py:pair", "Tiny gives tuple; it must give a score for each class"),
        ("tiny.py:per_step", "for 2 samples Tiny gives (2, 1, 3)"),
        ("tiny.py:data_dependent", "torch.export cannot export Tiny for an input (1, 5, 4)"),
    ],
)
def test_models_that_do_not_fit(made, model, words):
    answer, new = made("--data", "train.npz", model=model, code=4)
    assert words in answer.err
    assert answer.err.count("\n") == 1 and answer.out == "" and not new


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--factor", "5"], "or --example-shape, the shape"),
        (["--factor", "5", "--data", "none.npz"], "cannot read none.npz"),
        (["--factor", "5", "--data", "tiny.py"], "cannot read tiny.py"),
        (["--factor", "5", "--data", "train.npz", "--example-shape", "1,5,4"], "has the shape"),
        (["--factor", "5", "--test", "test.npz"], "--test is for training: give --data"),
        (["--factor", "5", "--batch-size", "8"], "--batch-size is for training: give --data"),
        (["--factor", "5", "--no-distill"], "--no-distill is for training: give --data"),
        (["--factor", "5", "--start", "random"], "random weights need training"),
        (["--factor", "900", "--dry-run"], "can be at most"),
        (["--factor", "0.5", "--dry-run"], "a number of at least 1"),
        (["--budget", "100B", "--dry-run"], "too small for any structure"),
        (["--budget", "little", "--dry-run"], "for example 16KB"),
        (
            ["--factor", "5", "--dry-run", "--layers", "gru"],
            "'gru' is no layer to compress in Tiny",
        ),
        (["--factor", "5", "--data", "train.npz", "-o", "none/m.pt2"], "no folder none"),
        (["--factor", "5", "--data", "train.npz", "-o", "tiny.pt"], "tiny.pt is used by this"),
        (["--factor", "5", "--data", "train.npz", "--checkpoint", "model.pt2"], "is used by this"),
        (["--factor", "5", "--data", "train.npz", "--checkpoint", "."], "is a folder"),
    ],
)
def test_user_errors(made, flags, words):
    answer, new = made(*flags, plan=(), code=4)
    assert words in answer.err
    assert answer.err.count("\n") == 1 and answer.out == "" and not new


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "one of the arguments --budget --factor is required"),
        (["--budget", "1KB", "--factor", "2"], "not allowed with argument"),
        (["--factor", "much"], "invalid float value"),
        (["--factor", "2", "--bits", "16"], "invalid choice"),
        (["--factor", "2", "--lr", "0"], "no rate"),
        (["--factor", "2", "--lr", "fast"], "fast is no rate; give a positive number"),
        (["--factor", "2", "--epochs", "0"], "at least 1"),
        (["--factor", "2", "--example-shape", "1,0"], "1,0 is no shape"),
        (["--factor", "2", "--example-shape", "(1)"], "for example 1,28,28"),
    ],
)
def test_usage_errors(made, flags, words):
    answer, _ = made(*flags, plan=(), code=2)
    assert words in answer.err and answer.err.count("\n") == 1


def test_an_old_output_survives_a_failure(made, folder, monkeypatch):
    (folder / "model.pt2").write_bytes(b"of yesterday")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    answer, new = made("--example-shape", "1,5,4", code=4)
    assert "No space left" in answer.err and not new
    assert (folder / "model.pt2").read_bytes() == b"of yesterday"


def test_nothing_but_the_error_reaches_stderr(folder):
    """In a process of its own, where torch's own lines would show too."""
    command = [sys.executable, "-m", "tvm_kp", "compress", "tiny.py:data_dependent", *PLAN]
    answer = subprocess.run(
        [*command, "--example-shape", "1,5,4"], capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stdout) == (4, "")
    assert answer.stderr.startswith("Error: torch.export cannot export Tiny")
    assert answer.stderr.count("\n") == 1


def test_help(tvm_kp_main):
    answer = tvm_kp_main("compress", "--help")
    assert answer.code == 0
    assert "usage: tvm-kp compress" in answer.out and "FILE.py:FACTORY" in answer.out
