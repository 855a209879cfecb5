"""Command lines that users of tvmc know: what each means here, or what replaces it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from tvm_kp.cli.main import build_parser
from tvm_kp.cli.options import join_target_flags, target_spec
from tvm_kp.cli.tvmc_flags import COMPILE, RUN, TUNE
from tvm_kp.target import Target

PARSED = [
    ("compile m.pt2 --target c", {"output": Path("module.tar"), "module_name": "default"}),
    ("compile m.pt2 -o o.tar -f mlf --target c", {"output": Path("o.tar"), "output_format": "mlf"}),
    ("compile m.pt2 --output-format mlf --model-format pytorch", {"model_format": "pytorch"}),
    ("compile m.pt2 --executor aot --executor-aot-interface-api c", {"executor": "aot"}),
    ("compile m.pt2 --executor-aot-unpacked-api 1", {"executor_aot_unpacked_api": "1"}),
    ("compile m.pt2 --executor-aot-workspace-byte-alignment 16", {"alignment": 16}),
    ("compile m.pt2 --executor-aot-constant-byte-alignment=32", {"constant_alignment": 32}),
    ("compile m.pt2 --runtime crt --runtime-crt-system-lib 0", {"runtime": "crt"}),
    ("compile m.pt2 --module-name kws", {"module_name": "kws"}),
    ("compile m.pt2 --disabled-pass A,B -O 0", {"disabled_pass": ("A", "B"), "opt_level": 0}),
    ("compile m.pt2 --opt-level=3 --tuning-records r.json", {"tuning_records": "r.json"}),
    (
        "compile m.pt2 --pass-config tir.usmp.enable=1 --pass-config tir.disable_vectorize=true",
        {"pass_config": [("tir.usmp.enable", "1"), ("tir.disable_vectorize", "true")]},
    ),
    (
        "compile m.pt2 --workspace-pools sram,dtcm --workspace-pools-size-hint-bytes=sram:400",
        {"workspace_pools": ("sram", "dtcm"), "workspace_pools_size_hint_bytes": [("sram:400",)]},
    ),
    ("-v compile m.pt2", {"verbose": 1}),
    ("tune m.pt2 -o r --tasks list --trials 10", {"tasks": "list", "trials": 10}),
    ("tune m.pt2 -o r --tasks all --tuner xgb --early-stopping 5", {"early_stopping": 5}),
    ("tune m.pt2 -o r --tuning-records old --timeout 10 --parallel 2", {"parallel": 2}),
    ("tune m.pt2 -o r --rpc-tracker 127.0.0.1:9190 --rpc-key m4", {"rpc_key": "m4"}),
    ("run p --device micro -i x.npz -o y.npz", {"device": "micro", "outputs": Path("y.npz")}),
    ("run p --inputs x.npz --outputs y.npz --repeat 3", {"inputs": Path("x.npz"), "repeat": 3}),
    ("run p --device micro --fill-mode ones --print-top 5", {"fill_mode": "ones", "print_top": 5}),
    ("run p --device micro --print-time --profile", {"print_time": True, "profile": True}),
    ("micro create p m.tar mps2", {"PROJECT_DIR": Path("p"), "MLF": Path("m.tar")}),
    (
        "micro create -f p m.tar zephyr --project-option board=b profile=1",
        {"force": True, "project_option": ["board=b", "profile=1"], "PLATFORM": "zephyr"},
    ),
    ("micro create-project p m.tar template --template-dir t", {"template_dir": "t"}),
    ("micro create p m.tar arduino --list-options", {"list_options": True}),
    ("micro build p mps2 -f --project-option profile=1", {"project_option": ["profile=1"]}),
    ("micro flash p zephyr --project-option a=1 --project-option b=2", {"PLATFORM": "zephyr"}),
]


@pytest.mark.parametrize(("line", "values"), PARSED)
def test_parsed(line, values):
    args = vars(build_parser().parse_args(join_target_flags(shlex.split(line))))
    assert {name: args[name] for name in values} == values


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("--target c", "host"),
        ("--target llvm", "host"),
        ("--target mps2-an500", "mps2-an500"),
        ("--target='c -mcpu=cortex-m4'", "mps2-an386"),
        ("--target='c -keys=arm_cpu,cpu -mcpu=cortex-m7'", "mps2-an500"),
        ("""--target '{"kind": "c", "mcpu": "cortex-m55"}'""", "mps3-an547"),
        ("--target target.json", "mps2-an385"),
        ("--target c --target-c-mcpu=cortex-m4", "mps2-an386"),
        ("--target-c-mcpu cortex-m7 --target-c-device=arm_cpu", "mps2-an500"),
        ("--target-llvm-mcpu=cortex-m3", "mps2-an385"),
    ],
)
def test_targets(flags, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("target.json").write_text(json.dumps({"kind": "c", "mcpu": "cortex-m3"}))
    line = join_target_flags(shlex.split(f"compile m.pt2 {flags}"))
    assert Target.load(target_spec(build_parser().parse_args(line))).name == name


REFUSED = [
    ("compile kws.pt2 --target c -f so", 2, "tvm-kp micro build"),
    ("compile kws.pt2 --target c --executor graph", 2, "only aot"),
    ("compile kws.pt2 --target c --executor-aot-interface-api packed", 2, "only c"),
    ("compile kws.pt2 --target c --executor-aot-unpacked-api 0", 2, "only 1"),
    ("compile kws.pt2 --target c --runtime cpp", 2, "only crt"),
    ("compile kws.pt2 --target c --runtime-crt-system-lib 1", 2, "by their names"),
    ("compile kws.pt2 --target c --model-format onnx", 2, "torch.export"),
    ("compile kws.pt2 --target c --executor-aot-constant-byte-alignment 3", 2, "power of two"),
    ("compile kws.pt2 --target c --pass-config relay.x=1", 2, "there are tir.usmp.enable"),
    ("compile kws.pt2 --target c --pass-config tir.usmp.enable=0", 2, "always planned"),
    ("compile kws.pt2 --target cuda", 4, "cuda"),
    ("compile kws.pt2 --target 'cmsis-nn, c'", 4, "unknown target"),
    ("compile kws.pt2", 4, "no --target given; there are host"),
    ("compile none.pt2 --target c", 4, "torch.export.save"),
    ("run none", 4, "tvm-kp compile makes"),
    ("run kws.pt2 --device micro", 4, "tvm-kp micro create"),
    ("run kws.pt2 --device cuda", 2, "only auto and micro"),
    ("micro create p none.tar mps2", 4, "tvm-kp compile makes one"),
    ("micro create p kws.pt2 template", 4, "--template-dir DIR"),
    ("micro create p kws.pt2 mbed", 4, "there are host, mps2, board, cmake, zephyr, arduino"),
    ("micro create p kws.pt2 zephyr --project-option project_type=x", 4, "there are board"),
    ("micro create p kws.pt2 mps2 --project-option warning_as_error=1", 4, "always are errors"),
    ("micro build none mps2", 4, "tvm-kp micro create makes one"),
    ("micro flash none zephyr", 4, "tvm-kp micro create makes one"),
    ("micro", 1, "create-project"),
    *((f"compile kws.pt2 {flag} x", 2, instead) for flag, instead in COMPILE.items()),
    *((f"compile kws.pt2 {flag}", 2, instead) for flag, instead in COMPILE.items()),
    *((f"run p {flag} x", 2, instead) for flag, instead in RUN.items()),
    *((f"tune kws.pt2 -o r {flag}=x", 2, instead) for flag, instead in TUNE.items()),
]


@pytest.mark.parametrize(("line", "code", "found"), REFUSED)
def test_refused_with_what_replaces_it(
    tvm_kp_main, driver, model_file, monkeypatch, line, code, found
):
    monkeypatch.chdir(model_file.parent)
    answer = tvm_kp_main(*shlex.split(line))
    assert (answer.code, answer.out) == (code, "")
    assert found in answer.err
    assert line == "micro" or answer.err.count("\n") == 1
    assert driver.calls.keys() <= {"loaded"}
    assert [path.name for path in model_file.parent.iterdir()] == ["kws.pt2"]


def test_alignments_reach_the_driver(tvm_kp_main, driver, model_file, tmp_path):
    command = ("compile", model_file, "--target=c", "-o", tmp_path / "m.tar")
    for constants, expected in ((4, 8), (32, 32)):
        flag = f"--executor-aot-constant-byte-alignment={constants}"
        assert tvm_kp_main(*command, flag).code == 0
        assert driver.calls["options"].workspace_alignment == expected


def test_replaced_flags_are_not_in_the_help(tvm_kp_main):
    for verb, flags in (("compile", COMPILE), ("run", RUN), ("tune", TUNE)):
        text = tvm_kp_main(verb, "--help").out
        assert not [flag for flag in flags if f"{flag} " in text or f"{flag}\n" in text]


def test_run_of_tvmc(tvm_kp_main, driver, model_file, tmp_path):
    x = np.ones((1, 25, 10), "float32")
    np.savez(tmp_path / "x.npz", x=x)
    answer = tvm_kp_main(
        *("run", model_file, "-i", tmp_path / "x.npz", "-o", tmp_path / "y.npz"),
        *("--fill-mode", "zeros", "--repeat", "3", "--print-time", "--profile"),
    )
    assert answer.code == 0, answer.err
    np.testing.assert_array_equal(driver.calls["inputs"]["x"], x)
    assert driver.calls["settings"] == {"repeat": 3, "profile": True, "timeout_s": None}
