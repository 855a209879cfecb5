from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tvm_kp import driver

MODELS = [name + form for name in ("dense", "kronecker") for form in ("", "_int8", "_int16x8")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "new"


@pytest.fixture
def demo():
    import demo

    return demo


def test_end_to_end(demo, folder, capsys):
    assert demo.main(["--output", str(folder), "--images", "3", "--epochs", "2"]) == 0
    printed = capsys.readouterr()
    for text in (
        "epoch 2 of 2",
        "accuracy, mps2-an386",
        "fewer parameters",
        "speed-up",
        "3 test images",
    ):
        assert text in printed.out
    assert printed.err == ""
    results = json.loads((folder / "results.json").read_text())
    assert (results["target"], results["images"], results["seed"]) == ("mps2-an386", 3, 0)
    assert list(results["models"]) == MODELS
    for name, values in results["models"].items():
        check(values, exact="_" not in name)
    check_savings(results["models"]["dense"], results["models"]["kronecker"])
    check_files(folder, printed.out)


def check(values, exact):
    places = ("pytorch", "host", "board")
    assert all(values[f"accuracy_{place}"] in (0, 1 / 3, 2 / 3, 1) for place in places)
    if exact:
        assert len({values[f"accuracy_{place}"] for place in places}) == 1
        assert 0 <= values["max_difference_host"] < 1e-5
        assert 0 <= values["max_difference_board"] < 1e-5
    else:
        assert 0 < values["max_difference_host"] == values["max_difference_board"] < 0.5
    assert values["inferences"] == 3
    counted = sum(operator["instructions"] for operator in values["operators"])
    assert 0.9 < counted / values["instructions"] <= 1
    assert values["flash_bytes"] == sum(
        values[f"{part}_bytes"] for part in ("code", "tables", "weights")
    )


def check_savings(dense, kronecker):
    assert dense["compression"] == dense["speed_up"] == 1
    assert kronecker["compression"] > 10
    assert kronecker["speed_up"] == dense["instructions"] / kronecker["instructions"] > 1.5
    assert kronecker["flash_bytes"] < dense["flash_bytes"] / 4
    assert not any(decision["factors"] for decision in dense["decisions"])
    (found,) = (decision for decision in kronecker["decisions"] if decision["factors"])
    assert (found["shape"], found["blocks"]) == ([224, 64], 4)


def check_files(folder, printed):
    names = {path.name for path in folder.iterdir()}
    models = {"dense.pt2", "kronecker.pt2", *(f"{name}.tar" for name in MODELS)}
    assert names == {*models, "inputs.npz", "digits.npz", "results.json", "report.html"}
    assert all(name in printed for name in names)
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "Weights, dense" in page and "Weights, kronecker" in page
    assert not re.search(r'(src|href)="(?!#)', page)
    model = driver.load(folder / "kronecker.tar")
    x = np.load(folder / "inputs.npz")["x"]
    assert x.shape == (3, *model.inputs[0].shape)
    assert np.load(folder / "digits.npz")["digit"].shape == (3,)


def test_a_board_is_needed(demo, tmp_path, capsys):
    assert demo.main(["--output", str(tmp_path / "new"), "--target", "host"]) == 4
    assert "runs on a board" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert demo.main(["--output", str(tmp_path), "--target", "mps2-an38"]) == 4
    assert "mps2-an386" in capsys.readouterr().err


def test_split_is_the_seeds():
    from digits import load

    one, same, other = load(5, 1), load(450, 1), load(5, 2)
    assert len(one.test[0]) == 5 and len(one.train[0]) == 1797 - 450
    assert (one.test[0] == same.test[0][:5]).all() and (one.train[1] == same.train[1]).all()
    assert not (one.test[0] == other.test[0]).all()
