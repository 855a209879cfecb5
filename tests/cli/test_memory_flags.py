"""Memory by flags: in tvmc's spelling and in ours."""

from __future__ import annotations

import pytest

from tvm_kp.cli.memory_flags import USMP_CONFIG
from tvm_kp.cli.model_flags import PASS_CONFIG

TARGET = "--target=mps2-an386"


@pytest.fixture
def options(tvm_kp_main, driver, model_file, tmp_path):
    """``options(*flags)``: the options that reach the driver."""

    def call(*flags):
        answer = tvm_kp_main("compile", model_file, TARGET, "-o", tmp_path / "m.tar", *flags)
        assert answer.code == 0, answer.err
        return driver.calls["options"]

    return call


def test_without_flags_memory_is_the_models_own(options):
    found = options()
    assert (found.memory_planner, found.workspace_io) == ("best", False)
    assert found.workspace_pools == {} and found.constants_section == ".rodata.tvm"


def test_spelling_of_tvmc(options):
    found = options(
        *("--pass-config", "tir.usmp.algorithm=hill_climb", "--pass-config=tir.usmp.enable=1"),
        "--pass-config=tir.usmp.use_workspace_io=True",
        *("--workspace-pools=dtcm,sram", "--workspace-pools-size-hint-bytes=sram:400"),
        *("--workspace-pools-size-hint-bytes", "dtcm:1024,sram:500"),
    )
    assert (found.memory_planner, found.workspace_io) == ("hill_climb", True)
    assert list(found.workspace_pools.items()) == [("dtcm", 1024), ("sram", 500)]


def test_our_spelling(options):
    found = options("--memory-planner", "exact", "--constants-section", ".qspi")
    assert (found.memory_planner, found.constants_section) == ("exact", ".qspi")
    assert options("--memory-planner=exact", "--pass-config=tir.usmp.algorithm=exact")
    assert options("--workspace-pools", "a").workspace_pools == {"a": None}


def test_every_key_is_among_those_of_pass_config():
    assert USMP_CONFIG.keys() < PASS_CONFIG.keys()


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--memory-planner", "greedy"], 2, "'greedy_by_conflicts'"),
        (["--pass-config=tir.usmp.algorithm=x"], 2, "there are best, greedy_by_size"),
        (["--pass-config=tir.usmp.use_workspace_io=2"], 2, "give 1 or 0"),
        (["--pass-config=tir.usmp.enable=0"], 2, "--memory-planner"),
        (["--workspace-pools-targets=a:c"], 2, "in the order in which they are named"),
        (["--workspace-pools-read-latency-cycles=a:5"], 2, "leave the flag out"),
        (["--memory-planner=best", "--pass-config=tir.usmp.algorithm=exact"], 4, "one of the two"),
        (["--workspace-pools-size-hint-bytes=a:5"], 4, "none given"),
        (["--workspace-pools=a", "--workspace-pools-size-hint-bytes=b:5"], 4, "POOL:BYTES"),
        (["--workspace-pools=a", "--workspace-pools-size-hint-bytes=a:x"], 4, "POOL:BYTES"),
        (["--workspace-pools=a", "--workspace-pools-size-hint-bytes=a:0"], 4, "at least 1"),
        (["--workspace-pools=a-b"], 4, "no name in C"),
        (["--constants-section", "a b"], 4, "no name of a section"),
    ],
)
def test_refused(tvm_kp_main, driver, model_file, flags, code, words):
    answer = tvm_kp_main("compile", model_file, TARGET, *flags)
    assert (answer.code, driver.calls) == (code, {})
    assert words in answer.err and answer.err.count("\n") == 1
