"""What models are compiled to: read, checked, and made a target of TVM."""

from __future__ import annotations

from pathlib import Path

import pytest

from tvm_kp import toml_record
from tvm_kp.codegen import Codegen
from tvm_kp.errors import TargetError
from tvm_kp.target import Target, content_dir


def board(codegen: dict[str, object]) -> Target:
    """A Cortex-M4 whose TOML has ``codegen``."""
    folder = content_dir("targets")
    table = toml_record.read(folder / "mps2-an386.toml")
    return Target.from_dict({**table, "codegen": codegen}, folder, "my.toml")


def test_the_shipped_targets_are_compiled_to_c() -> None:
    assert Target.load("mps2-an386").codegen == Codegen("c")


@pytest.mark.parametrize(
    ("spec", "name", "codegen"),
    [
        ("llvm -mcpu=cortex-m4", "mps2-an386", Codegen("llvm")),
        ("-target=llvm -mcpu=cortex-m7 -model=x", "mps2-an500", Codegen("llvm")),
        ('{"kind": "llvm", "mcpu": "cortex-m3"}', "mps2-an385", Codegen("llvm")),
        (
            "llvm -mcpu=cortex-m7 -mattr=-fp64,+dsp -mfloat-abi=soft -mtriple=thumbv7em-none-eabi",
            "mps2-an500",
            Codegen("llvm", "thumbv7em-none-eabi", ("-fp64", "+dsp"), "soft"),
        ),
        (
            '{"kind": "llvm", "mcpu": "cortex-m55", "mattr": ["-mve"]}',
            "mps3-an547",
            Codegen("llvm", mattr=("-mve",)),
        ),
        ("c -mcpu=cortex-m4 -mattr=-fp64", "mps2-an386", Codegen("c")),
    ],
)
def test_spellings_of_tvmc(spec: str, name: str, codegen: Codegen) -> None:
    target = Target.load(spec)
    assert (target.name, target.codegen) == (name, codegen)


@pytest.mark.parametrize(
    ("name", "triple", "abi", "features"),
    [
        ("mps2-an385", "thumbv7m-unknown-none-eabi", "soft", set()),
        ("mps2-an386", "thumbv7em-unknown-none-eabihf", "hard", {"-fp64"}),
        ("mps2-an500", "thumbv7em-unknown-none-eabihf", "hard", set()),
        ("mps3-an547", "thumbv8.1m.main-unknown-none-eabihf", "hard", set()),
        ("nucleo-l552ze", "thumbv8m.main-unknown-none-eabihf", "hard", {"-fp64"}),
        ("pico", "thumbv6m-unknown-none-eabi", "soft", set()),
    ],
)
def test_what_llvm_is_told_of_boards(name: str, triple: str, abi: str, features: set) -> None:
    target = Target.load(name)
    llvm = target.llvm
    assert (llvm["mtriple"], llvm["mfloat-abi"], llvm["mcpu"]) == (triple, abi, target.core)
    assert {flag for flag in llvm["mattr"] if "slow" not in flag} == features


def test_what_a_board_lacks_and_what_its_toml_says() -> None:
    target = board({"kind": "llvm", "mattr": ["+fp64"], "mtriple": "thumbv7em-none-eabihf"})
    assert target.llvm["mattr"][-2:] == ["-fp64", "+fp64"]
    assert target.llvm["mtriple"] == "thumbv7em-unknown-none-eabihf"
    assert Target.from_dict(target.to_dict(), Path("."), "again") == target
    table = {**target.to_dict(), "isa": ["fpu"]}
    assert "-dsp" in Target.from_dict(table, Path("."), "lacks").llvm["mattr"]


@pytest.mark.parametrize(
    ("codegen", "told"),
    [
        ({"kind": "cpp"}, r"codegen.kind is 'cpp'; there are c, llvm"),
        ({"kind": "c", "mattr": ["+dsp"]}, r"codegen.mattr is an option of LLVM"),
        ({"kind": "llvm", "mfloat_abi": "softfp"}, r"is 'softfp'; there are soft, hard"),
        ({"kind": "llvm", "mattr": ["dsp"]}, r'must be features such as "\+dsp"'),
        ({"kind": "llvm", "mcu": "m4"}, r"unknown key 'codegen.mcu'"),
        ({"kind": 3}, r"codegen.kind must be a string"),
    ],
)
def test_what_cannot_be(codegen: dict[str, object], told: str) -> None:
    with pytest.raises(TargetError, match=told):
        board(codegen)
