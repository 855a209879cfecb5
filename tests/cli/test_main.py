from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

import tvm_kp
from tvm_kp.cli import targets
from tvm_kp.errors import MissingToolError

PYTHON = (sys.executable, "-m", "tvm_kp")


def test_no_command_prints_help_on_stderr(tvm_kp_main):
    answer = tvm_kp_main()
    assert answer.code == 1
    assert answer.out == ""
    assert "commands:" in answer.err


def test_version(tvm_kp_main):
    answer = tvm_kp_main("--version")
    assert (answer.code, answer.out) == (0, f"tvm-kp {tvm_kp.__version__}\n")


@pytest.mark.parametrize("verb", ["compress", "compile", "run", "targets", "micro"])
def test_every_verb_has_help(tvm_kp_main, verb):
    answer = tvm_kp_main(verb, "--help")
    assert answer.code == 0
    assert f"usage: tvm-kp {verb}" in answer.out


@pytest.mark.parametrize("arguments", [["compile"], ["compiler"], ["targets", "--no-such-flag"]])
def test_wrong_command_line_is_one_line(tvm_kp_main, arguments):
    answer = tvm_kp_main(*arguments)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert "error:" in answer.err and "--help" in answer.err


@pytest.mark.parametrize("arguments", [["--help"], ["compile"], ["compile", "x", "-f", "so"]])
def test_help_and_usage_errors_are_quick(arguments):
    # Seconds of the processor: other work on the machine is not what is measured.
    before = os.times()
    answer = subprocess.run([*PYTHON, *arguments], capture_output=True, check=False)
    after = os.times()
    assert answer.returncode == (0 if arguments == ["--help"] else 2)
    user = after.children_user - before.children_user
    assert user + after.children_system - before.children_system < 0.5


def test_parsing_imports_nothing_heavy():
    code = (
        "import sys, tvm_kp\nfrom tvm_kp.cli.main import build_parser\nbuild_parser()\n"
        "print(*sorted({'tvm', 'torch', 'numpy', 'matplotlib', 'rich'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == []


def test_user_error_without_traceback(tvm_kp_main):
    answer = tvm_kp_main("targets", "mps2-an38")
    assert answer.code == 4
    assert answer.err.startswith("Error: ")
    assert "mps2-an386" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    "arguments", [["-vv", "targets"], ["targets", "-vv"], ["-v", "targets", "-v"]]
)
def test_twice_verbose_shows_the_traceback_too(tvm_kp_main, arguments):
    answer = tvm_kp_main(*arguments, "nowhere")
    assert answer.code == 4
    assert "Traceback" in answer.err
    assert answer.err.splitlines()[-1].startswith("Error: ")


def raising(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MissingToolError("no qemu"), 5),
        (ModuleNotFoundError("No module named 'tvm'", name="tvm"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(tvm_kp_main, monkeypatch, error, code):
    monkeypatch.setattr(targets, "run", raising(error))
    answer = tvm_kp_main("targets")
    assert answer.code == code
    assert "Traceback" not in answer.err


def test_an_interrupt_is_one_whatever_becomes_of_its_exception(tvm_kp_main, monkeypatch):
    def run(args):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError from None

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(targets, "run", run)
    answer = tvm_kp_main("targets")
    assert (answer.code, answer.err) == (130, "Interrupted.\n")
    assert signal.getsignal(signal.SIGINT) == before


def test_missing_package_is_named_with_what_installs_it(tvm_kp_main, monkeypatch):
    monkeypatch.setattr(targets, "run", raising(ModuleNotFoundError("x", name="torch.export")))
    assert tvm_kp_main("targets").err == "Error: no Python package torch: pip install torch\n"


@pytest.mark.parametrize(
    "error", [ValueError("ours"), ModuleNotFoundError("x", name="tvm_kp.gone")]
)
def test_our_bugs_keep_their_traceback(tvm_kp_main, monkeypatch, error):
    monkeypatch.setattr(targets, "run", raising(error))
    with pytest.raises(type(error)):
        tvm_kp_main("targets")


def test_reader_that_leaves_hears_no_complaint():
    command = f"{' '.join(PYTHON)} targets mps2-an386 | true"
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert answer.stderr == ""


def test_config_gives_flags_that_the_command_line_overrides(
    tvm_kp_main, driver, model_file, tmp_path
):
    config = tmp_path / "kp.json"
    values = {"target": "mps2-an385", "module-name": "kws", "output": str(tmp_path / "a.tar")}
    config.write_text(json.dumps(values))
    answer = tvm_kp_main(
        "-v", "--config", config, "compile", model_file, "--target-c-mcpu=cortex-m7", "--target=c"
    )
    assert answer.code == 0, answer.err
    assert driver.calls["target"].name == "mps2-an500"
    assert driver.calls["options"].module_name == "kws"
