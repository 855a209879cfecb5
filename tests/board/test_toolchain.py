from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_kp.artifacts import Footprint, Model
from tvm_kp.board import toolchain
from tvm_kp.errors import BuildError, FitError, MissingToolError
from tvm_kp.target import Memory, Target, names

BOARDS = [name for name in names() if Target.load(name).runner.kind == "qemu"]


@pytest.mark.parametrize("board", BOARDS)
def test_footprint_is_what_size_says(
    board: str, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    model, target = make_model(constants=4096), Target.load(board)
    found = toolchain.footprint(model, target)
    sources = toolchain.write_sources(model, tmp_path)
    command = ["arm-none-eabi-gcc", *toolchain.cflags(target), *sources, "-o", tmp_path / "m.elf"]
    command += ["-nostartfiles", "-Wl,--gc-sections,-e,tvmgen_hand_run", "-lm"]
    subprocess.run(command, check=True)
    size = subprocess.run(
        ["arm-none-eabi-size", tmp_path / "m.elf"], check=True, capture_output=True, text=True
    )
    text, data, bss = map(int, size.stdout.splitlines()[1].split()[:3])
    assert found.flash_bytes == text + data
    assert found.ram_bytes == data + bss + model.io_bytes
    assert found.weights_bytes == model.constants_bytes == 4096 + 16
    assert 0 < found.code_bytes < 2000
    assert found.sections[0] == ("more (flash)", 4096)
    assert ("workspace (ram)", 16) in found.sections


def test_library_code_counts(make_model: Callable[..., Model]) -> None:
    target = Target.load("mps2-an386")
    plain = toolchain.footprint(make_model(), target)
    body = "extern float expf(float); *total = (int64_t)expf((float)*steps);"
    pulled = toolchain.footprint(make_model(body), target)
    assert pulled.code_bytes > plain.code_bytes + 200


def test_stack_is_that_of_the_deepest_call(make_model: Callable[..., Model]) -> None:
    target = Target.load("mps2-an386")
    body = "volatile int32_t kept[100]; kept[*steps & 63] = 1; *total = kept[0];"
    plain, deep = (toolchain.footprint(make_model(*b), target).stack_bytes for b in ((), (body,)))
    assert plain + 400 - 64 <= deep <= plain + 400 + 64


def test_host_footprint(make_model: Callable[..., Model]) -> None:
    found = toolchain.footprint(make_model(), Target.load("host"))
    assert found.ram_bytes >= 16 + make_model().io_bytes
    toolchain.check_fit(found, Target.load("host"))


def shrunk(**lengths: int) -> Target:
    target = Target.load("mps3-an547")
    memories = {n: Memory(m.origin, lengths.get(n, m.length)) for n, m in target.memories.items()}
    return dataclasses.replace(target, memories=memories)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (shrunk(ram=999), ["ram 1000 of 999"]),
        (shrunk(flash=299), ["flash 300 of 299"]),
        (shrunk(flash=401), ["flash 500 of 401"]),
        (shrunk(flash=300, constants=199), ["constants 200 of 199"]),
        (shrunk(flash=99, ram=99), ["flash 300 of 99", "ram 1000 of 99"]),
    ],
)
def test_what_does_not_fit_is_shown(target: Target, words: list[str]) -> None:
    footprint = Footprint(300, 200, 1000, (("w (flash)", 200), ("state (ram)", 64)))
    with pytest.raises(FitError) as error:
        toolchain.check_fit(footprint, target)
    for word in [*words, target.name, "200  w (flash)", "64  state (ram)"]:
        assert word in str(error.value)


def test_constants_leave_a_crowded_flash() -> None:
    target = shrunk(flash=300, constants=200)
    assert toolchain.constants_memory(150, target) == "flash"
    assert toolchain.constants_memory(151, target) == "constants"
    assert toolchain.constants_memory(1 << 30, Target.load("mps2-an386")) == "flash"
    toolchain.check_fit(Footprint(300, 200, 0), target)


@pytest.mark.parametrize("name", names())
def test_missing_compiler(
    name: str, make_model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingToolError, match=r"gcc.*sudo apt-get install gcc"):
        toolchain.footprint(make_model(), Target.load(name))


@pytest.mark.parametrize("name", ["host", "mps2-an386"])
def test_warnings_are_errors(name: str, make_model: Callable[..., Model]) -> None:
    with pytest.raises(BuildError, match=r"refused hand_lib1\.c: .*conversion"):
        toolchain.footprint(make_model("warning"), Target.load(name))


def test_missing_library_is_a_missing_tool(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text("#include <string.h>\n")
    flags = ("-nostdinc", "-isystem", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"string\.h.*libnewlib-arm-none-eabi"):
        toolchain.compile_objects([source], Target.load("mps2-an386"), tmp_path / "out", flags)
