from __future__ import annotations

import argparse
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.cli.options import (
    Parser,
    add_target,
    join_target_flags,
    names,
    only,
    positive,
    seconds,
    target_spec,
)
from tvm_kp.errors import TargetError


def spec(*arguments):
    parser = Parser()
    add_target(parser, "")
    return target_spec(parser.parse_args(join_target_flags(arguments)))


def test_target_as_given():
    assert spec() is None
    assert spec("--target", "mps2-an386") == "mps2-an386"
    assert spec("--target=c -mcpu=cortex-m4") == "c -mcpu=cortex-m4"


@pytest.mark.parametrize("kind", ["c", "llvm"])
@pytest.mark.parametrize(
    "flag", [["--target-{}-mcpu=cortex-m4"], ["--target-{}-mcpu", "cortex-m4"]]
)
@pytest.mark.parametrize("named", [True, False])
def test_core_of_a_kind(kind, flag, named):
    target = ["--target", kind] if named else []
    found = spec(*target, *(part.format(kind) for part in flag))
    assert json.loads(found) == {"kind": kind, "mcpu": "cortex-m4"}


def test_attributes_that_agree_change_nothing():
    with_device = spec("--target-c-device=arm_cpu", "--target-c-mcpu=cortex-m4")
    assert with_device == spec("--target-c-mcpu=cortex-m4")
    assert spec("--target-c-keys=arm_cpu,cpu") == "c"


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--target-cuda-arch=sm_80"], "no kind cuda"),
        (["--target-c-march=armv7e-m"], "--target FILE"),
        (["--target-c-device=mali"], "--target-c-device=mali"),
        (["--target=mps2-an386", "--target-c-mcpu=cortex-m7"], "give one of the two"),
        (["--target=llvm", "--target-c-mcpu=cortex-m7"], "give one of the two"),
    ],
)
def test_refused(arguments, found):
    with pytest.raises(TargetError, match=re.escape(found)):
        spec(*arguments)


def test_target_flag_without_value():
    with pytest.raises(SystemExit):
        spec("--target-c-mcpu")


@given(st.lists(st.text().filter(lambda text: not text.startswith("--target-"))))
def test_other_arguments_stay_as_they_are(arguments):
    assert join_target_flags(arguments) == arguments


def test_only_says_what_replaces_the_refused():
    assert only("aot", "")("aot") == "aot"
    with pytest.raises(argparse.ArgumentTypeError, match="graph is not available, only aot: do x"):
        only("aot", "do x")("graph")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_positive_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError):
        positive(text)


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "soon"])
def test_seconds_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError):
        seconds(text)


def test_values():
    assert positive("3") == 3
    assert seconds("0.5") == 0.5
    assert names("FoldConstant, DeadCode,") == ("FoldConstant", "DeadCode")
