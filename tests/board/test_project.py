from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tvm_kp.artifacts import Model, Pool
from tvm_kp.board.layout import BATCH, HOST_DRIVEN, KINDS
from tvm_kp.board.project import Project, build, create
from tvm_kp.errors import BuildError, FitError, OutputError, TargetError
from tvm_kp.target import Target, names

STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Werror")


def kinds(target: Target) -> tuple[str, ...]:
    """An attached board answers sessions alone."""
    return (HOST_DRIVEN,) if target.runner.kind == "serial" else KINDS


def loaded(image: Path) -> list[list[str]]:
    """Name and size of the sections of ``image``."""
    tool = "arm-none-eabi-size" if image.suffix == ".elf" else "size"
    text = subprocess.run([tool, "-A", image], check=True, capture_output=True, text=True)
    return [line.split()[:2] for line in text.stdout.splitlines() if line.startswith(".")]


def functions(image: Path) -> set[tuple[str, ...]]:
    """Name and size of the functions of ``image``: CMake links in another order."""
    tool = "arm-none-eabi-nm" if image.suffix == ".elf" else "nm"
    text = subprocess.run([tool, "-S", image], check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in text.splitlines())
    found = {(row[3], row[1]) for row in rows if len(row) == 4 and row[2] in "tT"}
    assert len(found) > 4
    return found


@pytest.mark.parametrize("name", names())
def test_plain_make_builds_the_same(
    name: str, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    target = Target.load(name)
    project = create(make_model(), target, tmp_path / "p", kind=kinds(target)[-1])
    moved = (tmp_path / "p").rename(tmp_path / "elsewhere")
    subprocess.run(["make", "-s"], cwd=moved, check=True)
    image = "libmodel.so" if name == "host" else "firmware.elf"
    made = moved / "build" / image
    sizes = loaded(made)
    assert sizes
    moved.rename(project.directory)
    built = build(project)
    assert built == project.directory / "build" / image
    assert loaded(built) == sizes
    assert sorted(p.name for p in built.parent.iterdir() if p.name.startswith("objects")) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [("host", BATCH), ("host", HOST_DRIVEN), ("mps3-an547", BATCH), ("pico", HOST_DRIVEN)],
)
def test_cmake_builds_the_same(
    name: str, kind: str, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    project = create(make_model(), Target.load(name), tmp_path / "p", kind=kind)
    moved = (tmp_path / "p").rename(tmp_path / "elsewhere")
    # A library for a process counts nothing.
    profiles = (False,) if (name, kind) == ("host", BATCH) else (False, True)
    for profile in profiles:
        out = tmp_path / f"out{profile:d}"
        made = ["-S", str(moved), "-B", str(out), f"-DPROFILE={profile:d}"]
        for command in (["cmake", *made], ["cmake", "--build", str(out)]):
            subprocess.run(command, check=True, capture_output=True)
    moved.rename(project.directory)
    for profile in profiles:
        built = build(project, profile=profile)
        assert functions(tmp_path / f"out{profile:d}" / built.name) == functions(built)


def test_make_with_profile(make_model: Callable[..., Model], tmp_path: Path) -> None:
    project = create(make_model(), Target.load("mps2-an386"), tmp_path / "p")
    subprocess.run(["make", "-s", "PROFILE=1"], cwd=project.directory, check=True)
    made = loaded(project.directory / "build" / "profile" / "firmware.elf")
    assert made == loaded(build(project, profile=True))
    assert made != loaded(build(project))


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in names() for kind in kinds(Target.load(name))]
)
def test_harness_has_no_warnings(
    name: str, kind: str, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    folder = create(make_model(), Target.load(name), tmp_path / "p", kind=kind).directory
    flags = (folder / "Makefile").read_text().partition("CFLAGS := ")[2].partition("\n")[0].split()
    sources = [*folder.glob("src/*.c"), *folder.glob("board/*.c")]
    compiler = "gcc" if name == "host" else "arm-none-eabi-gcc"
    for defines in ([], ["-DTVMGEN_PROFILE"], ["-DTVMGEN_TRACE"]):
        command = [compiler, *flags, *defines, *STRICT, "-fsyntax-only"]
        done = subprocess.run([*command, *sources], cwd=folder, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["host", "mps2-an386"])
def test_make_builds_the_same_driven_firmware(
    name: str, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    project = create(make_model(), Target.load(name), tmp_path / "p", kind=HOST_DRIVEN)
    for profile in (False, True):
        make = ["make", "-s", *(["PROFILE=1"] if profile else [])]
        subprocess.run(make, cwd=project.directory, check=True)
        sizes = loaded(project.image_path(profile))
        assert loaded(build(project, profile)) == sizes


@pytest.mark.parametrize(
    ("name", "kind", "sources"),
    [
        ("host", "batch", "main.c"),
        ("host", "host_driven", "commands.c link.c main.c port_host.c profile.c server.c"),
        ("mps2-an386", "batch", "fault.c main.c measure.c profile.c semihosting.c"),
        (
            "mps2-an386",
            "host_driven",
            "commands.c cortex_m.c fault.c link.c main.c measure.c port_cmsdk.c profile.c server.c",
        ),
    ],
)
def test_projects_have_what_they_need(
    name: str, kind: str, sources: str, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    folder = create(make_model(), Target.load(name), tmp_path / "p", kind=kind).directory
    assert sorted(p.name for p in (folder / "src").iterdir()) == sources.split()
    assert Project.open(folder).kind == kind


def test_open_gives_back_what_create_wrote(
    make_model: Callable[..., Model],
    tmp_path: Path,
    inputs: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
) -> None:
    target = Target.load("mps2-an386")
    made = create(make_model(), target, tmp_path / "p")
    project = Project.open(tmp_path / "p")
    assert project.model == made.model
    assert project.target.to_dict() == target.to_dict()
    assert project.target.toolchain.startup == project.directory / "board" / "startup.c"
    np.testing.assert_array_equal(project.run(inputs).outputs["output0"], expected["output0"])


def test_open_knows_where_memory_lies(make_model: Callable[..., Model], tmp_path: Path) -> None:
    pools = (Pool("sram", 64), Pool("dtcm", 8))
    model = replace(make_model(), pools=pools, pool_alignment=16, constants_section=".qspi")
    create(model, Target.load("mps2-an386"), tmp_path / "p")
    assert Project.open(tmp_path / "p").model == model


def test_existing_folders(make_model: Callable[..., Model], tmp_path: Path) -> None:
    target, folder = Target.load("host"), tmp_path / "p"
    folder.mkdir()
    create(make_model(), target, folder)
    (folder / "note.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"exists already.*--force"):
        create(make_model(), target, folder)
    assert (folder / "note.txt").exists()
    create(make_model("nops"), target, folder, force=True)
    assert not (folder / "note.txt").exists()
    assert "nop" in (folder / "model" / "hand_lib1.c").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


def test_force_replaces_only_projects(make_model: Callable[..., Model], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(OutputError, match="not a project"):
            create(make_model(), Target.load("host"), folder, force=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_nothing_half_made_is_left(
    make_model: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(OutputError, match=r"p cannot be written: No space left"):
        create(make_model(), Target.load("host"), tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be(make_model: Callable[..., Model], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        create(make_model(), Target.load("host"), tmp_path / "file" / "p")


def test_a_failed_build_leaves_the_last_image(
    make_model: Callable[..., Model], tmp_path: Path
) -> None:
    project = create(make_model(), Target.load("mps2-an386"), tmp_path / "p")
    before = build(project).read_bytes()
    (project.directory / "model" / "hand_lib1.c").write_text("int broken(void) { return }\n")
    with pytest.raises(BuildError, match=r"hand_lib1\.c"):
        build(project)
    assert (project.directory / "build" / "firmware.elf").read_bytes() == before
    assert [p.name for p in (project.directory / "build").iterdir()] == ["firmware.elf"]


def test_an_image_too_large_is_a_fit_error(
    make_model: Callable[..., Model], tmp_path: Path
) -> None:
    project = create(make_model(constants=5 << 20), Target.load("mps2-an386"), tmp_path / "p")
    with pytest.raises(FitError, match="does not fit mps2-an386: flash lacks"):
        build(project)


def test_open_refuses_what_is_no_project(make_model: Callable[..., Model], tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no project folder"):
        Project.open(tmp_path)
    create(make_model(), Target.load("host"), tmp_path / "p")
    path = tmp_path / "p" / "project.json"
    table = json.loads(path.read_text())
    for change in ({"format": 99}, {"kind": "x"}, {"model": {}}, {"target": {"name": "x"}}):
        path.write_text(json.dumps({**table, **change}))
        with pytest.raises(TargetError, match=r"project\.json"):
            Project.open(tmp_path / "p")
    path.write_text("{")
    with pytest.raises(TargetError, match="create it again"):
        Project.open(tmp_path / "p")
