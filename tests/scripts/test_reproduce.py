"""The whole of ``scripts/reproduce`` on a made-up problem: which half of a sequence is larger?"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tvm_kp import driver
from tvm_kp.compress import Kronecker, LowRank, Pruned
from tvm_kp.errors import InputError, RunError

METHODS = ("dense", "small", "pruned", "low-rank", "kronecker", "reshaped", "hybrid")
TRIED = ("dense", "kronecker")
SHAPE = Kronecker(((4, 3), (2, 4)))


@pytest.fixture
def tiny(monkeypatch):
    """One small benchmark for all scripts."""
    import benchmarks
    import datasets

    def load(_folder):
        x = torch.randn(200, 6, 4, generator=torch.Generator().manual_seed(0))
        y = (x[:, :3].sum((1, 2)) > x[:, 3:].sum((1, 2))).long()
        return datasets.Data((x[:150], y[:150]), (x[150:], y[150:]))

    benchmark = replace(
        benchmarks.BENCHMARKS["KWS-LSTM"],
        **{"name": "TINY", "note": "made up", "load": load, "seeds": 2},
        **{"steps": 6, "inputs": 4, "hidden": 8, "classes": 2},
        **{
            "kronecker": SHAPE,
            "reshaped": SHAPE,
            "hybrid": replace(SHAPE, factors=((1, 3), (7, 4)), dense_rows=1),
        },
        **{"dense": benchmarks.Recipe(3, 0.02), "compressed": benchmarks.Recipe(4, 0.02)},
        **{"teachers": 2},
    )
    monkeypatch.setitem(benchmarks.BENCHMARKS, "TINY", benchmark)
    return benchmark


def run(folder, *more):
    import reproduce

    common = ["--benchmarks", "TINY", "--jobs", "1", "--output", str(folder)]
    return reproduce.main([*common, *map(str, more)])


def test_end_to_end(tiny, tmp_path, capsys, monkeypatch):
    import readme

    page = tmp_path / "README.md"
    first, last = (
        "<!-- reproduce: scripts/reproduce --readme writes this -->\n",
        "<!-- end of reproduce -->\n",
    )
    assert first in readme.README.read_text() and last in readme.README.read_text()
    page.write_text(f"before\n{first}old\n{last}after\n")
    monkeypatch.setattr(readme, "README", page)
    folder = tmp_path / "new"
    common = ["--methods", ",".join(TRIED), "--seeds", 1]
    assert run(folder, *common, "--readme", "--networks", tmp_path / "networks") == 0
    printed = capsys.readouterr().out
    assert "Training 2 of 2: TINY dense, seed 1" in printed and "min left" in printed
    assert "Training 1 of 1: TINY kronecker" in printed and "Measuring 2 of 2" in printed
    results = json.loads((folder / "results.json").read_text())
    networks = {row["method"]: row for row in results["networks"]}
    assert tuple(networks) == TRIED and {row["seeds"] for row in networks.values()} == {1}
    dense, kronecker = networks["dense"], networks["kronecker"]
    assert dense["parameters"] == 4 * 8 * (4 + 8) + 32 and kronecker["parameters"] == 4 * 20 + 32
    assert kronecker["compression"] == dense["parameters"] / kronecker["parameters"]
    check(networks, len(tiny.load(None).test[1]))
    assert set(networks["kronecker"]["int8"]["structures"]) == {"kronecker joint"}
    text = page.read_text()
    assert (
        "| TINY | kronecker | (4×3)⊗(2×4) | 112 |" in text
        and "made up" in text
        and "old" not in text
    )
    assert all("<svg" in (folder / f"{name}.svg").read_text() for name in ("accuracy", "training"))
    check_network(tmp_path / "networks")
    again(folder, common, capsys)


def check_network(folder):
    compiled = driver.compile(folder / "TINY.pt2", "host")
    assert {d.structure for d in compiled.model.decisions} == {"kronecker joint", "dense"}
    with np.load(folder / "TINY.npz") as arrays:
        assert arrays["x"].shape == (32, 1, 6, 4) and arrays["labels"].shape == (32,)
        scores = driver.run(compiled.model, "host", {"x": arrays["x"]}).outputs["output"]
    program = torch.export.load(folder / "TINY.pt2").module()
    with np.load(folder / "TINY.npz") as arrays, torch.no_grad():
        expected = torch.cat([program(torch.from_numpy(x)) for x in arrays["x"]])
    np.testing.assert_allclose(scores[:, 0], expected, atol=1e-5)


def check(networks, tests):
    for row in networks.values():
        assert len(row["history"]) == (3 if row["method"] == "dense" else 4)
        for form in ("float32", "int8"):
            found = row[form]
            assert found["accuracies"] == [pytest.approx(row["accuracies"][0], abs=4 / tests)]
            assert found["flash_bytes"] == sum(
                found[f"{part}_bytes"] for part in ("code", "tables", "weights")
            )
            assert 0 < found["rnn_bytes"] < found["weights_bytes"]
            assert found["instructions"] > 0
        assert row["float32"]["accuracies"] == row["accuracies"]
        assert row["int8"]["rnn_bytes"] < row["float32"]["rnn_bytes"]
        most = networks["dense"]["float32"]["rnn_bytes"]
        assert row["int8"]["compression"] == most / row["int8"]["rnn_bytes"]


def again(folder, common, capsys):
    """What is done is kept; what was lost is done again, to the same result."""
    before = json.loads((folder / "results.json").read_text())["networks"]
    (folder / "TINY" / "kronecker-0.json").unlink()
    assert run(folder, *common) == 0
    printed = capsys.readouterr().out
    assert "Training 1 of 1: TINY kronecker" in printed and "Measuring" not in printed
    after = json.loads((folder / "results.json").read_text())["networks"]
    assert [row["accuracies"] for row in after] == [row["accuracies"] for row in before]
    assert [row["history"] for row in after] == [row["history"] for row in before]


def test_interrupted(tiny, tmp_path, monkeypatch, capsys):
    import trainings

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainings.torch, "save", stop)
        assert run(tmp_path, "--methods", "dense") == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not list((tmp_path / "TINY").glob("*.json"))


def test_teachers_together(tiny):
    """Probabilities are the mean of the networks', and a result depends on how many there are."""
    from classifier import Ensemble
    from trainings import Job

    networks = [torch.nn.Linear(4, 3) for _ in range(3)]
    x = torch.randn(5, 4)
    mean = sum(torch.softmax(network(x), 1) for network in networks) / 3
    torch.testing.assert_close(torch.exp(Ensemble(networks)(x)), mean)
    job = Job("TINY", "small", 1, Path(), Path())
    assert [dense.seed for dense in job.teachers] == [0, 1]
    assert not job.teachers[0].teachers
    assert job.settings()["teachers"] == [job.teachers[0].settings()] * 2


def test_sizes_are_equal(tiny):
    """All methods have about as many numbers as the Kronecker form, and are what they say."""
    from benchmarks import numbers

    sizes = {method: numbers(tiny.make(method)) for method in METHODS}
    assert sizes["kronecker"] == 4 * (12 + 8) + 32
    for method in ("small", "low-rank"):
        assert abs(sizes[method] - sizes["kronecker"]) <= 4 * (4 + 8)
    assert isinstance(tiny.choice("low-rank").forms[0], LowRank)
    assert isinstance(tiny.choice("pruned").forms[0], Pruned)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--benchmarks", "NONE"], "no NONE; there are MNIST-LSTM"),
        (["--methods", "dense,none"], "no none; there are dense, small"),
        (["--methods", "small"], "add it"),
        (["--target", "host"], "counts no instructions"),
        (["--quick", "--readme"], "leave one of them out"),
        (["--data", "/nowhere", "--benchmarks", "USPS-FastRNN"], "/nowhere/usps/usps.npz"),
        (["--output", "/dev/null/x"], "/dev/null"),
    ],
)
def test_mistakes_are_told_before_the_work(arguments, message, capsys):
    import reproduce

    assert reproduce.main(arguments) == 4
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_arrays_are_checked_whatever_their_file(tmp_path, monkeypatch, write):
    import datasets

    arrays = {key: np.arange(count) for count, key in enumerate(("more", *datasets._PARTS))}
    octets = b"".join(arrays[key].tobytes() for key in datasets._PARTS)
    monkeypatch.setitem(datasets.CHECKSUMS, "a.npz", hashlib.sha256(octets).hexdigest())
    write(tmp_path / "a.npz", **arrays)
    found = datasets._arrays(tmp_path, "a.npz", datasets._PARTS)
    assert {key: len(array) for key, array in found.items()} == {
        key: len(arrays[key]) for key in datasets._PARTS
    }
    write(tmp_path / "a.npz", **arrays | {"y_test": np.arange(4)[::-1]})
    with pytest.raises(InputError, match=r"SHA-256 .* it is damaged"):
        datasets._arrays(tmp_path, "a.npz", datasets._PARTS)
    write(tmp_path / "a.npz", X_train=np.arange(3))
    with pytest.raises(InputError, match=r"an \.npz file with X_train, y_train"):
        datasets._arrays(tmp_path, "a.npz", datasets._PARTS)


@pytest.mark.parametrize("damage", [b"nothing", b"", b"PK\x03\x04nothing"])
def test_a_damaged_data_set(tmp_path, damage):
    import datasets

    (tmp_path / "usps").mkdir()
    (tmp_path / "usps" / "usps.npz").write_bytes(damage)
    with pytest.raises(InputError, match="is damaged or another file"):
        datasets.usps(tmp_path)


def test_mnist_is_fetched_and_checked(tmp_path, monkeypatch):
    import datasets

    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    names = [name for name in datasets.CHECKSUMS if name.startswith("mnist/")]
    for name in names:
        content = name.encode()
        monkeypatch.setitem(datasets.CHECKSUMS, name, hashlib.sha256(content).hexdigest())
        (there / f"{Path(name).name}.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(datasets, "MNIST_URL", there.as_uri())
    datasets.download(here)
    assert len(list((here / "mnist").iterdir())) == len(names) == 4
    assert datasets._unpacked(here, names[0]).tobytes() == names[0].encode()
    (there / f"{Path(names[1]).name}.gz").write_bytes(gzip.compress(b"damaged"))
    (here / f"{names[1]}.gz").unlink()
    with pytest.raises(InputError, match=r"has the SHA-256"):
        datasets.download(here)
    (there / f"{Path(names[1]).name}.gz").unlink()
    with pytest.raises(InputError, match=r"cannot fetch .* copy the file to"):
        datasets.download(here)
    assert not (here / f"{names[1]}.gz").exists()


def test_a_second_run_is_refused(tiny, tmp_path, capsys):
    import reproduce

    with reproduce._alone(tmp_path):
        assert run(tmp_path, "--methods", "dense") == 4
    assert "another scripts/reproduce is at work" in capsys.readouterr().err


def test_a_process_that_dies():
    import processes

    with pytest.raises(RunError, match="try again with --jobs 1"):
        list(processes.finished(2, os._exit, [1, 1]))


def test_processes_end_with_a_mistake():
    import processes

    with processes.pool(2) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
    with pytest.raises(KeyboardInterrupt), processes.pool(1) as pool:
        pool.submit(os.getpid).result()
        raise KeyboardInterrupt


def test_the_papers_sizes():
    """The numbers of reference/paper's table: dense, Kronecker, compression."""
    from benchmarks import BENCHMARKS, numbers

    found = {
        name: (numbers(b.make("dense")), numbers(b.make("kronecker")))
        for name, b in BENCHMARKS.items()
    }
    assert found["MNIST-LSTM"] == (10_880 + 160, 4 * 117 + 160)
    assert found["KWS-LSTM"] == (60_416 + 472, 4 * 504 + 472)
    assert found["KWS-GRU"] == (75_768 + 462, 3 * 507 + 462)
    assert found["USPS-FastRNN"] == (1_536 + 32 + 2, 80 + 32 + 2)
    dense, kronecker = found["HAR1-BiLSTM"]
    assert 15 < dense / kronecker < 30
