from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.errors import TargetError
from tvm_kp.target import CORES, Target, check_counts, content_dir, names

BOARD = """\
name = "mine"
core = "cortex-m4"
platform = "mps2"
isa = ["dsp", "fpu"]
[memories]
flash = { origin = 0, length = 0x10000 }
ram = { origin = 0x20000000, length = 0x8000 }
[toolchain]
prefix = "arm-none-eabi-"
install = "apt-get install gcc-arm-none-eabi"
linker_script = "cortex-m.ld"
startup = "startup.c"
[runner]
kind = "qemu"
machine = "mps2-an386"
icount_shift = 7
ticks_per_instruction = 3.2
"""


def load(folder: Path, text: str) -> Target:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return Target.load(str(path))


def test_shipped_names() -> None:
    emulated = [name for name in names() if Target.load(name).runner.kind == "qemu"]
    assert emulated == ["mps2-an385", "mps2-an386", "mps2-an500", "mps3-an547"]
    assert {"host", "nrf52840dk", "nucleo-f446re", "pico"} < set(names())


@pytest.mark.parametrize("name", names())
def test_shipped_targets_are_whole(name: str) -> None:
    target = Target.load(name)
    assert target.name == name
    assert target.description and target.note and target.toolchain.install
    assert set(target.isa) <= CORES[target.core]


@pytest.mark.parametrize("name", names())
def test_survives_json(name: str) -> None:
    target = Target.load(name)
    table = json.loads(json.dumps(target.to_dict()))
    assert Target.from_dict(table, content_dir("targets"), "test") == target


def test_a_users_board_takes_shipped_files_and_prefers_its_own(tmp_path: Path) -> None:
    (tmp_path / "startup.c").write_text("/* mine */")
    target = load(tmp_path, BOARD)
    assert target.toolchain.startup == tmp_path / "startup.c"
    assert target.toolchain.linker_script == content_dir("targets") / "cortex-m.ld"
    assert target.memories["ram"].end == 0x20008000


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("c -mcpu=cortex-m4", "mps2-an386"),
        ("-target=c -mcpu=cortex-m7", "mps2-an500"),
        ("c -keys=arm_cpu,cpu -mcpu=cortex-m55 -model=x", "mps3-an547"),
        ("c --mcpu=cortex-m3", "mps2-an385"),
        ('{"kind": "c", "mcpu": "cortex-m4"}', "mps2-an386"),
        ('{"kind": "llvm"}', "host"),
        ("llvm", "host"),
        ("c", "host"),
        (" mps2-an386 ", "mps2-an386"),
    ],
)
def test_spellings(spec: str, name: str) -> None:
    assert Target.load(spec).name == name


def test_kernels_are_tuned_as_c() -> None:
    with pytest.raises(TargetError, match=r"tried as C.*give mps2-an386 of kind c"):
        check_counts(Target.load("llvm -mcpu=cortex-m4"), "tune")


def test_path_to_json(tmp_path: Path) -> None:
    path = tmp_path / "target.json"
    path.write_text('{"kind": "c", "mcpu": "cortex-m7"}')
    assert Target.load(str(path)).name == "mps2-an500"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mps2-an38", ["mps2-an38", "did you mean", "mps2-an386"]),
        ("zzz", ["zzz", "there are host, mps2-an385"]),
        ("c -mcpu=cortex-m5", ["cortex-m5", "cortex-m55"]),
        ('{"kind": "c", "mcpu": 4}', ["mcpu", "string"]),
        ('{"kind": "cuda"}', ["kind", "cortex-m4"]),
        ("{", ["JSON"]),
        ("none.json", ["none.json", "cannot be read"]),
        ("none.toml", ["none.toml", "cannot be read"]),
        ('c "', ["cannot be read"]),
        ("", ["unknown target"]),
    ],
)
def test_unknown(spec: str, words: list[str]) -> None:
    with pytest.raises(TargetError) as error:
        Target.load(spec)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('core = "cortex-m4"', 'core = "cortex-m3"', ["isa", "dsp", "cortex-m3"]),
        ('core = "cortex-m4"', 'core = "cortex-m44"', ["cortex-m44", "cortex-m4"]),
        ('core = "cortex-m4"', "", ["core", "missing"]),
        ('core = "cortex-m4"', 'core = "host"', ["host"]),
        ('platform = "mps2"', 'platform = "zephyr"', ["platform", "zephyr", "mps2"]),
        ('name = "mine"', 'name = "mine"\nisaa = []', ["isaa", "did you mean isa"]),
        ("machine =", "machin =", ["runner.machin", "runner.machine"]),
        ("0x20000000", "0xF000", ["memories.flash", "overlaps", "memories.ram"]),
        ("0x20000000", "0xFFFFFFF0", ["memories.ram", "32-bit"]),
        ("length = 0x8000", "length = 0", ["memories.ram.length"]),
        ("length = 0x8000", "length = -1", ["memories.ram.length", "-1"]),
        ("length = 0x8000", 'length = "32K"', ["memories.ram.length", "32K"]),
        ("length = 0x8000", "size = 4", ["memories.ram.size"]),
        ("ram = {", "rom = {", ["memories.ram", "missing"]),
        ('kind = "qemu"', 'kind = "renode"', ["runner.kind", "renode"]),
        ('machine = "mps2-an386"', "", ["runner.machine", "missing"]),
        ("ticks_per_instruction = 3.2", "timeout_s = 0", ["timeout_s"]),
        ('startup = "startup.c"', "", ["toolchain.startup", "missing"]),
        ('"startup.c"', '"mine.c"', ["toolchain.startup", "mine.c"]),
        ('"startup.c"', '"../startup.c"', ["toolchain.startup", "folder"]),
        ('isa = ["dsp", "fpu"]', 'isa = "dsp"', ["isa", "list"]),
        ("[runner]", "[runner", ["TOML"]),
    ],
)
def test_bad_descriptions_name_file_and_key(
    tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    assert old in BOARD
    with pytest.raises(TargetError) as error:
        load(tmp_path, BOARD.replace(old, new, 1))
    assert all(word in str(error.value) for word in ["mine.toml", *words])


@given(st.integers(0, 1 << 20), st.integers(1, 1 << 20), st.integers(0, 1 << 20))
def test_memories_overlap_or_not(ram: int, length: int, flash: int) -> None:
    table = Target.load("mps2-an386").to_dict()
    table["memories"] = {
        "flash": {"origin": flash, "length": length},
        "ram": {"origin": ram, "length": length},
    }
    if abs(ram - flash) >= length:
        made = Target.from_dict(table, content_dir("targets"), "test")
        assert made.memories["ram"].origin == ram
    else:
        with pytest.raises(TargetError, match="overlaps"):
            Target.from_dict(table, content_dir("targets"), "test")


def test_content_lies_inside_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tvm_kp" / "targets").mkdir(parents=True)
    (tmp_path / "targets").mkdir()
    monkeypatch.setattr("tvm_kp.target.__file__", str(tmp_path / "tvm_kp" / "target.py"))
    assert content_dir("targets") == tmp_path / "tvm_kp" / "targets"
    assert content_dir("schedules") == tmp_path / "schedules"


def test_a_target_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Target.load("host").name = "other"  # type: ignore[misc]


ATTACHED = (
    BOARD.replace('"mps2"', '"board"').partition("[runner]")[0]
    + """\
[uart]
driver = "steps"
setup = ["0x10 = 0x1"]
read = ["byte = 0x14"]
write = ["0x18 = byte"]
[runner]
kind = "serial"
flash = ["openocd", "-c", "program {image}"]
usb = "0483:374b"
"""
)


def test_an_attached_board(tmp_path: Path) -> None:
    target = load(tmp_path, ATTACHED)
    assert target.runner.flash[-1] == "program {image}" and target.uart is not None
    assert Target.from_dict(target.to_dict(), tmp_path, "test") == target


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('platform = "board"', 'platform = "mps2"', ["board and serial both or none"]),
        ("program {image}", "program", ["runner.flash", "{image}"]),
        ('usb = "0483:374b"', "", ["usb", "0483:374b", "port"]),
        ("0483:374b", "ST-LINK", ["usb", "port"]),
        ('usb = "0', 'ticks_per_instruction = 1\nusb = "0', ["emulates nothing"]),
        (ATTACHED[ATTACHED.index("[uart]") : ATTACHED.index("[runner]")], "", ["uart is missing"]),
    ],
)
def test_attached_boards_that_make_no_sense(
    old: str, new: str, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(TargetError) as error:
        load(tmp_path, ATTACHED.replace(old, new))
    assert all(word in str(error.value) for word in words)


def test_floats_in_mve_take_mve_and_floats(tmp_path: Path) -> None:
    m55 = BOARD.replace("cortex-m4", "cortex-m55")
    with pytest.raises(TargetError, match=r"isa has 'mve\.fp', which takes fpu and mve too"):
        load(tmp_path, m55.replace('["dsp", "fpu"]', '["mve", "mve.fp"]'))
    assert load(tmp_path, m55.replace('["dsp", "fpu"]', '["fpu", "mve", "mve.fp"]'))
