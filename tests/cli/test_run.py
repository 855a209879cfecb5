from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "m.tar"
    path.write_bytes(b"archive")
    return path


def save_inputs(tmp_path, *lead):
    path = tmp_path / "x.npz"
    x, word = np.ones((*lead, 1, 25, 10), "float32"), np.ones((*lead, 2), "int32")
    np.savez(path, x=x, word=word)
    return path


def test_measures_by_default(tvm_kp_main, driver, archive):
    answer = tvm_kp_main("run", archive)
    assert answer.code == 0, answer.err
    assert "Execution on mps2-an386" in answer.out
    assert "392,000" in answer.out
    assert "not cycles" in answer.out


def test_inputs_outputs_and_settings(tvm_kp_main, driver, archive, tmp_path):
    outputs, values = tmp_path / "y.npz", tmp_path / "v.json"
    answer = tvm_kp_main(
        *("run", archive, "-i", save_inputs(tmp_path, 2), "-o", outputs, "--json", values),
        *("--repeat", "3", "--timeout", "5", "--profile"),
    )
    assert answer.code == 0, answer.err
    assert driver.calls["settings"] == {"repeat": 3, "profile": True, "timeout_s": 5.0}
    assert driver.calls["inputs"]["x"].shape == (2, 1, 25, 10)
    with np.load(outputs) as written:
        assert written["output"].shape == (2, 1, 12)
    written = json.loads(values.read_text())
    assert written["instructions"] == 392_000
    assert written["operators"][1] == {"name": "cell", "calls": 25, "instructions": 389_000}
    assert answer.out.index("cell") < answer.out.index("head")


def test_single_inference_has_no_axis_over_inferences(tvm_kp_main, driver, archive, tmp_path):
    outputs = tmp_path / "y.npz"
    assert tvm_kp_main("run", archive, "-i", save_inputs(tmp_path), "-o", outputs).code == 0
    with np.load(outputs) as written:
        assert written["output"].shape == (1, 12)


def test_report(tvm_kp_main, driver, archive, tmp_path):
    page = tmp_path / "r.html"
    answer = tvm_kp_main("run", archive, "--profile", "--check", "--report", page)
    assert answer.code == 0, answer.err
    text = page.read_text()
    assert "<title>kws run on mps2-an386</title>" in text
    for found in ("392,000", "389,000", "Compared with this computer", "4 × (2×16) ⊗ (59×8)"):
        assert found in text, found
    assert f"Wrote {page}" in answer.out.replace("\n", "")
    assert tvm_kp_main("run", archive, "--report", tmp_path).code == 4


def test_made_up_inputs(tvm_kp_main, driver, archive):
    assert tvm_kp_main("run", archive, "--fill-mode", "ones").code == 0
    assert driver.calls["inputs"]["word"].tolist() == [1, 1]


def test_target_of_ones_choice(tvm_kp_main, driver, archive):
    assert tvm_kp_main("run", archive, "--target", "host").code == 0
    assert driver.calls["target"].name == "host"
    assert tvm_kp_main("run", archive).code == 0
    assert driver.calls["target"].name == "mps2-an386"


def test_check_compares_with_this_computer(tvm_kp_main, driver, archive):
    driver.trace = lambda *_, **settings: []
    other = {"output": driver.result.outputs["output"].copy()}
    other["output"][1, 0, 3] += 0.5
    results = [driver.result, replace(driver.result, outputs=other)]
    driver.run = lambda model, target, inputs, **settings: (
        results[0] if target.name == "mps2-an386" else results[1]
    )
    answer = tvm_kp_main("run", archive, "--check")
    assert answer.code == 0, answer.err
    row, note = answer.out.strip().splitlines()[-2:]
    assert row.split() == ["output", "0.5", "23"] and note.startswith("Outputs differ")
    results[1] = results[0]
    row, note = tvm_kp_main("run", archive, "--check").out.strip().splitlines()[-2:]
    assert row.split() == ["output", "0", "23"] and note.startswith("No output differs")


def test_check_with_a_reference(tvm_kp_main, driver, archive, compiled, monkeypatch):
    answer = tvm_kp_main("run", archive, "--check", "--reference", archive)
    assert answer.code == 0, answer.err
    assert driver.calls["target"].name == "mps2-an386"
    models = iter([compiled.model, replace(compiled.model, outputs=compiled.model.inputs)])
    driver.load = lambda path: next(models)
    answer = tvm_kp_main("run", archive, "--check", "--reference", archive)
    assert answer.code == 4 and "its outputs are others" in answer.err


def test_print_top(tvm_kp_main, driver, archive):
    out = tvm_kp_main("run", archive, "--print-top", "2").out
    rows = [line.split() for line in out.splitlines() if line.startswith("output")]
    assert rows[1:] == [["output", "0,", "11", "11"], ["output", "0,", "10", "10"]]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["none.tar"], "no file or folder none.tar"),
        (["m.tar", "--device", "micro"], "tvm-kp micro create"),
        (["m.tar", "-i", "none.npz"], "none.npz"),
        (["m.tar", "-o", "/proc/y.npz"], "/proc/y.npz"),
        (["m.tar", "--target", "hots"], "did you mean host"),
        ([".", "--target", "host"], "leave --target out"),
        (["."], "project.json"),
        (["m.tar", "--reference", "m.tar"], "give --check, too"),
    ],
)
def test_user_errors(tvm_kp_main, driver, archive, monkeypatch, arguments, found):
    monkeypatch.chdir(archive.parent)
    answer = tvm_kp_main("run", *arguments)
    assert answer.code == 4
    assert found in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (["--device", "cpu"], "--target host"),
        (["--repeat", "0"], "at least 1"),
        (["--timeout", "-1"], "seconds"),
        (["--fill-mode", "noise"], "invalid choice"),
    ],
)
def test_usage_errors(tvm_kp_main, archive, flags, found):
    answer = tvm_kp_main("run", archive, *flags)
    assert answer.code == 2
    assert found in answer.err
