from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tvm_kp.artifacts import Pool
from tvm_kp.errors import FitError
from tvm_kp.target import Target

TARGET = "--target=mps2-an386"


def test_writes_everything_asked_for(tvm_kp_main, driver, model_file, tmp_path):
    archive, page, values = (tmp_path / name for name in ("m.tar", "r.html", "v.json"))
    answer = tvm_kp_main(
        "compile", model_file, TARGET, "-o", archive, "--report", page, "--json", values
    )
    assert answer.code == 0, answer.err
    assert archive.read_bytes() == b"archive"
    assert page.read_text().startswith("<!doctype html>")
    written = json.loads(values.read_text())
    assert written["decisions"][0]["factors"] == [[2, 16], [59, 8]]
    assert written["flash_bytes"] == 2048 + 13728
    assert {p.name for p in tmp_path.iterdir()} == {"kws.pt2", "m.tar", "r.html", "v.json"}


def test_report_says_where_constants_and_pools_lie(tvm_kp_main, driver, model_file, tmp_path):
    page = tmp_path / "r.html"
    pools = (Pool("constants", 96), Pool("sram", 4000))
    model = replace(driver.compiled.model, pools=pools, constants_section=".constants")
    board = Target.load("mps3-an547")
    driver.compiled = replace(driver.compiled, model=model, target=board)
    command = ("compile", model_file, "--target=mps3-an547", "-o", tmp_path / "m.tar")
    answer = tvm_kp_main(*command, "--report", page)
    assert answer.code == 0, answer.err
    rows = re.findall(r"<tr><td>(\w+)</td><td[^>]*>(.*?)</td>", page.read_text())
    assert {
        *(("flash", "code"), ("constants", "weights")),
        *(("constants", "workspace pool constants"), ("ram", "workspace pool sram")),
    } <= set(rows)


def test_prints_decisions_and_sizes(tvm_kp_main, driver, model_file, tmp_path):
    out = tvm_kp_main("compile", model_file, TARGET, "-o", tmp_path / "m.tar").out
    assert "4 × (2×16) ⊗ (59×8)" in out
    assert "head [linear]" in out
    assert "15,776" in out


def test_options_reach_the_driver(tvm_kp_main, driver, model_file, tmp_path):
    answer = tvm_kp_main(
        *("compile", model_file, TARGET, "-o", tmp_path / "m.tar", "--dump", tmp_path / "dump"),
        *("--module-name", "kws", "--disabled-pass", "A,B", "-O", "0"),
        *("--executor-aot-workspace-byte-alignment", "16", "--tolerance", "0.02", "--stream"),
        *("--optimize", "size"),
    )
    assert answer.code == 0, answer.err
    options = driver.calls["options"]
    assert options.module_name == "kws"
    assert options.dump == tmp_path / "dump"
    assert options.disabled_pass == ("A", "B")
    assert options.workspace_alignment == 16
    assert options.factorize is False
    assert options.tolerance == 0.02
    assert options.stream
    assert options.optimize == "size"
    assert driver.calls["target"].name == "mps2-an386"


def test_spelling_of_tvmc(tvm_kp_main, driver, model_file, tmp_path):
    answer = tvm_kp_main(
        *("compile", model_file, "-o", tmp_path / "m.tar", "-f", "mlf", "--model-format=pytorch"),
        *("--target=c", "--target-c-mcpu=cortex-m4", "--target-c-device=arm_cpu"),
        *("--executor=aot", "--executor-aot-interface-api=c", "--executor-aot-unpacked-api=1"),
        *("--runtime=crt", "--pass-config", "tir.disable_vectorize=1"),
        *("--pass-config", "tir.usmp.enable=true", "-O3"),
    )
    assert answer.code == 0, answer.err
    assert driver.calls["target"].name == "mps2-an386"
    assert driver.calls["options"].factorize is True


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (["--executor", "graph"], "only aot"),
        (["--executor-aot-interface-api=packed"], "only c"),
        (["--executor-aot-unpacked-api=0"], "only 1"),
        (["--runtime=cpp"], "only crt"),
        (["-f", "so"], "tvm-kp micro build"),
        (["--model-format=onnx"], "torch.export"),
        (["--pass-config", "relay.x=1"], "--disabled-pass"),
        (["--pass-config", "tir.usmp.enable=0"], "planned at compile time"),
        (["--executor-aot-workspace-byte-alignment=12"], "power of two"),
        (["-O", "4"], "invalid choice"),
        (["--tolerance=-0.1"], "no relative error"),
        (["--tolerance=1"], "a number below 1"),
        (["--tolerance=nan"], "give 0 (exact)"),
        (["--tolerance=little"], "little is no relative error"),
    ],
)
def test_refused_values_say_what_replaces_them(tvm_kp_main, model_file, flags, found):
    answer = tvm_kp_main("compile", model_file, TARGET, *flags)
    assert answer.code == 2
    assert found in answer.err


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ([], "no --target given; there are host, mps2-an385"),
        (["--target=mps2-an38"], "did you mean mps2-an386"),
        (["--target-c-mcpu=cortex-m99"], "cortex-m99"),
        ([TARGET, "-o", "/no/folder/m.tar"], "/no/folder"),
        ([TARGET, "--json", "/proc/v.json"], "/proc/v.json"),
        ([TARGET, "--report", "/"], "is a folder"),
        ([TARGET, "--dump", "/proc/dump"], "/proc/dump"),
    ],
)
def test_user_errors_are_found_before_compiling(tvm_kp_main, driver, model_file, flags, found):
    answer = tvm_kp_main("compile", model_file, *flags)
    assert answer.code == 4
    assert found in answer.err
    assert answer.err.count("\n") == 1
    assert driver.calls == {}


def test_missing_model(tvm_kp_main, driver, tmp_path):
    answer = tvm_kp_main("compile", tmp_path / "none.pt2", TARGET)
    assert answer.code == 4
    assert "none.pt2" in answer.err and "torch.export.save" in answer.err


def test_failed_compilation_writes_nothing(tvm_kp_main, driver, model_file, tmp_path):
    driver.error = FitError("flash: 5,000,000 bytes needed, 4,194,304 there")
    answer = tvm_kp_main(
        "compile", model_file, TARGET, "-o", tmp_path / "m.tar", "--json", tmp_path / "v.json"
    )
    assert answer.code == 4
    assert answer.err == "Error: flash: 5,000,000 bytes needed, 4,194,304 there\n"
    assert [p.name for p in tmp_path.iterdir()] == ["kws.pt2"]


def test_verbose_prints_stages_on_stderr(tvm_kp_main, driver, model_file, tmp_path):
    answer = tvm_kp_main("compile", "-v", model_file, TARGET, "-o", tmp_path / "m.tar")
    assert re.search(r"2\.50 s +import", answer.err)
    assert "import" not in answer.out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--calibration", "x.npz"], "for --quantize and --tolerance"),
        (["--quantize", "int8"], "--calibration FILE.npz"),
        (["--io", "int8"], "give --quantize too"),
        (["--allow-float"], "give --quantize too"),
        (["--quantize", "int8", "--calibration", "absent.npz"], "cannot read absent.npz"),
    ],
)
def test_half_a_wish_for_integers_is_refused(
    tvm_kp_main, driver, model_file, tmp_path, flags, words
):
    answer = tvm_kp_main("compile", model_file, TARGET, "-o", tmp_path / "m.tar", *flags)
    assert answer.code == 4 and words in answer.err
    assert not (tmp_path / "m.tar").exists()


def test_integers_reach_the_driver(tvm_kp_main, driver, model_file, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones((2, 3), "float32"))
    command = ("compile", model_file, TARGET, "-o", tmp_path / "m.tar", "--quantize", "int16x8")
    more = ("--io", "int16", "--calibration-range", "mse", "--allow-float")
    assert tvm_kp_main(*command, "--calibration", tmp_path / "x.npz", *more).code == 0
    options = driver.calls["options"]
    assert (options.quantize, options.io, options.allow_float) == ("int16x8", "int16", True)
    assert options.calibration_range == "mse"
    np.testing.assert_array_equal(options.calibration["x"], np.ones((2, 3)))
    assert tvm_kp_main(*command, "--calibration", "random").code == 0
    assert driver.calls["options"].calibration == "random"


def test_what_quantization_changes_is_printed(
    tvm_kp_main, driver, compiled, quantized, model_file, tmp_path
):
    driver.compiled = replace(compiled, quantized=quantized)
    answer = tvm_kp_main("compile", model_file, TARGET, "-o", tmp_path / "m.tar")
    assert "Quantized to int8" in answer.out and "38.5" in answer.out
    assert "50.00% in float, 25.00% in integers" in answer.out
    (warning,) = answer.err.splitlines()
    assert warning.startswith("Warning: 2.5% of the values of step.h saturate")
