"""Libraries: built where a compiler can, checked for their SDK's layout where only it can."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.artifacts import Model, Pool, TensorSpec
from tvm_kp.board import library_project, template_keys
from tvm_kp.board.library_project import LibraryProject, build_library, create_library
from tvm_kp.board.project import Project
from tvm_kp.errors import BuildError, InputError, MissingToolError, OutputError, TargetError
from tvm_kp.target import LIBRARY_PLATFORMS, Target

GOLDEN = Path(__file__).parent.parent / "golden"
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
CORTEX_M4 = Target.load("mps2-an386").toolchain.cflags
ZEROS = ["output0[0] = 0", "output0[1] = 0", "output0[2] = 0", "output0[3] = 0", "output1[0] = 1"]

STREAM = """
struct tvmgen_hand_state { float h[4]; };
int32_t tvmgen_hand_reset(struct tvmgen_hand_state* state);
int32_t tvmgen_hand_step(struct tvmgen_hand_inputs* inputs, struct tvmgen_hand_outputs* outputs,
                         struct tvmgen_hand_state* state);
"""
STEP = """
int32_t tvmgen_hand_reset(struct tvmgen_hand_state* state) {
  state->h[0] = 2.5f;
  return 0;
}
int32_t tvmgen_hand_step(struct tvmgen_hand_inputs* inputs, struct tvmgen_hand_outputs* outputs,
                         struct tvmgen_hand_state* state) {
  const int32_t status = tvmgen_hand_run(inputs, outputs);
  *(float*)outputs->output0 = state->h[0];
  return status;
}
"""


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def model(make_model: Callable[..., Model]) -> Model:
    return replace(make_model(), target="host")


@pytest.fixture
def stream(model: Model) -> Model:
    """The same as a stream, whose reset state is its first output."""
    header = model.header.replace("#ifdef __cplusplus\n}", f"{STREAM}#ifdef __cplusplus\n}}")
    sources = {**model.sources, "hand_lib0.c": model.sources["hand_lib0.c"] + STEP}
    return replace(model, header=header, sources=sources, state_bytes=16)


def test_cmake_builds_and_runs(
    model: Model, stream: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CFLAGS", " ".join(STRICT))
    for kind, expected in ((model, ZEROS), (stream, ["output0[0] = 2.5", *ZEROS[1:]])):
        project = create_library(kind, "cmake", tmp_path / "p", force=True)
        build_library(project)
        assert run(project.directory / "build" / "example").splitlines() == expected


def test_cmake_builds_for_the_board_of_the_archive(model: Model, tmp_path: Path) -> None:
    project = create_library(replace(model, target="mps2-an386"), "cmake", tmp_path / "p")
    build_library(project)
    made = project.directory / "build" / "libtvmgen_hand.a"
    attributes = run("arm-none-eabi-readelf", "-A", made)
    assert 'Tag_CPU_name: "Cortex-M4"' in attributes or "v7E-M" in attributes
    assert "VFP registers" in attributes
    assert not (made.parent / "example").exists()
    text = (project.directory / "README.md").read_text()
    assert "mps2-an386 (cortex-m4, dsp, fpu)" in text and "-mfloat-abi=hard" in text


def test_two_models_in_the_firmware_of_somebody(model: Model, tmp_path: Path) -> None:
    other = replace(
        model,
        name="other",
        header=model.header.replace("hand", "other").replace("HAND", "OTHER"),
        sources={
            name.replace("hand", "other"): text.replace("hand", "other").replace("+ 1", "+ 7")
            for name, text in model.sources.items()
        },
    )
    for one in (model, other):
        create_library(one, "cmake", tmp_path / "libraries" / one.name)
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "tvmgen_hand.h"\n#include "tvmgen_other.h"\n'
        "int main(void) {\n  float x[4] = {1}, y[4];\n"
        "  int64_t steps[1] = {5}, total[1], more[1];\n"
        "  struct tvmgen_hand_inputs in = {x, steps};\n"
        "  struct tvmgen_other_inputs others = {x, steps};\n"
        "  struct tvmgen_hand_outputs out = {y, total};\n"
        "  struct tvmgen_other_outputs outs = {y, more};\n"
        "  if (tvmgen_hand_run(&in, &out) || tvmgen_other_run(&others, &outs)) return 1;\n"
        '  printf("%g %d %d\\n", (double)y[0], (int)*total, (int)*more);\n  return 0;\n}\n'
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(firmware C)\n"
        "add_subdirectory(libraries/hand)\nadd_subdirectory(libraries/other)\n"
        "add_executable(firmware main.c)\n"
        "target_link_libraries(firmware PRIVATE tvmgen_hand tvmgen_other)\n"
    )
    run("cmake", "-S", tmp_path, "-B", tmp_path / "b", f"-DCMAKE_C_FLAGS={' '.join(STRICT)}")
    run("cmake", "--build", tmp_path / "b")
    assert run(tmp_path / "b" / "firmware") == "4 6 12\n"
    assert not list((tmp_path / "b").rglob("example"))


@pytest.mark.parametrize("name", ["dense_lstm", "kronecker_lstm"])
def test_header_in_cpp(name: str, tmp_path: Path) -> None:
    source = tmp_path / "caller.cc"
    source.write_text(
        '#include <stdint.h>\n#include "tvmgen_default.h"\n'
        "int32_t call(tvmgen_default_inputs& in, tvmgen_default_outputs& out) {\n"
        "  return tvmgen_default_run(&in, &out);\n}\n"
    )
    command = ("arm-none-eabi-g++", "-std=c++17", *STRICT, f"-I{GOLDEN / name}", "-c", source)
    run(*command, "-o", tmp_path / "caller.o")
    assert re.search(r"U tvmgen_default_run$", run("arm-none-eabi-nm", tmp_path / "caller.o"), re.M)


def test_zephyr_layout(model: Model, tmp_path: Path) -> None:
    folder = create_library(replace(model, target="mps2-an386"), "zephyr", tmp_path / "p").directory
    module = yaml.safe_load((folder / "zephyr" / "module.yml").read_text())
    assert (folder / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    kconfig = (folder / module["build"]["kconfig"]).read_text()
    assert kconfig.startswith("config TVMGEN_HAND\n\tbool ")
    (samples,) = module["samples"]
    (sample,) = (folder / samples).iterdir()
    assert {p.name for p in sample.iterdir()} == {
        "CMakeLists.txt",
        "prj.conf",
        "sample.yaml",
        "src",
    }
    tests = yaml.safe_load((sample / "sample.yaml").read_text())["tests"]
    (settings,) = tests.values()
    assert re.match(settings["harness_config"]["regex"][0], ZEROS[0])
    configuration = dict(
        line.split("=") for line in (sample / "prj.conf").read_text().splitlines() if line[0] != "#"
    )
    assert configuration["CONFIG_TVMGEN_HAND"] == "y"
    assert "CONFIG_TVMGEN_HAND" in (folder / "zephyr" / "CMakeLists.txt").read_text()
    assert "not built with Zephyr" in (folder / "README.md").read_text()


def test_zephyr_sample_runs_with_a_stand_in(model: Model, stream: Model, tmp_path: Path) -> None:
    stand_in = tmp_path / "sdk" / "zephyr" / "sys" / "printk.h"
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text("#include <stdio.h>\n#define printk printf\n")
    for kind, first in ((model, "output0[0] = 0"), (stream, "output0[0] = 2.5")):
        folder = create_library(kind, "zephyr", tmp_path / "p", force=True).directory
        sources = (*folder.glob("model/*.c"), *folder.glob("samples/*/src/main.c"))
        flags = ("-std=c99", *STRICT, f"-I{folder / 'include'}", f"-I{tmp_path / 'sdk'}")
        run("arm-none-eabi-gcc", *CORTEX_M4, *flags, "-fsyntax-only", *sources)
        run("gcc", *flags, *sources, "-o", tmp_path / "sample")
        assert run(tmp_path / "sample").splitlines() == [first, *ZEROS[1:]]


def test_arduino_layout_and_sketch(model: Model, stream: Model, tmp_path: Path) -> None:
    (tmp_path / "Arduino.h").write_text(
        "#include <stdint.h>\nstruct Port {\n  void begin(long);\n  explicit operator bool();\n"
        "  template <typename T> void print(T);\n  template <typename T> void println(T);\n"
        "  void println(double, int);\n};\nextern Port Serial;\n"
    )
    for kind in (model, stream):
        folder = create_library(kind, "arduino", tmp_path / "p", force=True).directory
        lines = (folder / "library.properties").read_text().splitlines()
        properties = dict(line.split("=", 1) for line in lines)
        required = "name version author maintainer sentence paragraph category url architectures"
        assert properties.keys() >= set(required.split()) and all(properties.values())
        assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
        assert (folder / "src" / properties["includes"]).is_file()
        sketch = folder / "examples" / "Hand" / "Hand.ino"
        flags = (*CORTEX_M4, *STRICT, f"-I{tmp_path}", f"-I{folder / 'src'}")
        cpp = ("-std=gnu++17", "-include", "Arduino.h", "-fsyntax-only", "-x", "c++", sketch)
        run("arm-none-eabi-g++", *flags, *cpp)
        sources = folder.glob("src/*.c")
        run("arm-none-eabi-gcc", "-std=gnu11", *flags, "-fsyntax-only", *sources)
        assert "not built with Arduino's tools" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("platform", "build", "flash"),
    [
        ("cmake", "micro build", "that firmware's tools"),
        ("zephyr", "west build -b BOARD samples/hand", "west flash"),
        ("arduino", "examples/Hand", "arduino-cli upload"),
    ],
)
def test_what_is_typed_instead(
    model: Model, tmp_path: Path, platform: str, build: str, flash: str
) -> None:
    project = create_library(model, platform, tmp_path / "p")
    assert LibraryProject.open(tmp_path / "p") == project
    with pytest.raises(TargetError, match="is a library"):
        Project.open(tmp_path / "p")
    assert build in library_project.advice(project, "build")
    assert flash in library_project.advice(project, "flash")
    if project.needs_sdk:
        with pytest.raises(BuildError, match="not built from here: in that folder, type"):
            build_library(project)


@pytest.mark.parametrize("platform", LIBRARY_PLATFORMS)
def test_a_target_that_is_not_shipped(model: Model, tmp_path: Path, platform: str) -> None:
    own = replace(model, target="my-board")
    create_library(own, platform, tmp_path / "unknown")
    assert "compiled for my-board" in (tmp_path / "unknown" / "README.md").read_text()
    target = replace(Target.load("mps2-an500"), name="my-board")
    create_library(own, platform, tmp_path / "known", target=target)
    assert "-mcpu=cortex-m7" in (tmp_path / "known" / "README.md").read_text()


DTYPES = ("float32", "float64", "bool", *(f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64)))
TENSORS = st.builds(
    lambda shape, dtype: (tuple(shape), dtype),
    st.lists(st.integers(1, 40), max_size=4),
    st.sampled_from(DTYPES),
)


@given(inputs=st.lists(TENSORS, min_size=1), outputs=st.lists(TENSORS, min_size=1))
def test_example_has_room_for_every_tensor(inputs, outputs) -> None:
    def specs(kind: str, tensors: list) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(f"{kind}{i}", *tensor) for i, tensor in enumerate(tensors))

    model = Model("m", "t", specs("a", inputs), specs("b", outputs), "", {}, (), 0, 0)
    values = template_keys.values(model, None)
    assert values.keys() == template_keys.KEYS.keys()
    sizes = {"float": 4, "double": 8, **{f"{d}_t": np.dtype(d).itemsize for d in DTYPES[3:]}}
    declared = re.findall(r"^static (\w+) (\w+)\[(\d+)\]", values["BUFFERS"], re.M)
    tensors = (*model.inputs, *model.outputs)
    assert [sizes[kind] * int(count) for kind, _, count in declared] == [t.nbytes for t in tensors]
    names = [name for key in ("INPUTS", "OUTPUTS") for name in values[key][1:-1].split(", ")]
    assert [name for _, name, _ in declared] == names
    assert values["SET_INPUTS"].count("memset(inputs.a") == len(inputs)
    assert values["SHOW_OUTPUTS"].count("for (int i = 0") == len(outputs)


def test_examples_of_pools_and_of_io_in_the_workspace(model: Model, tmp_path: Path) -> None:
    pools = (Pool("dtcm", 16), Pool("sram", 64))
    own = replace(model, pools=pools, pool_alignment=32, workspace_io=True, state_bytes=4)
    values = template_keys.values(own, None)
    assert values["BUFFERS"].splitlines() == [
        "static uint8_t pool_dtcm[TVMGEN_HAND_DTCM_WORKSPACE_POOL_SIZE] "
        "__attribute__((aligned(32)));",
        "static uint8_t pool_sram[TVMGEN_HAND_SRAM_WORKSPACE_POOL_SIZE] "
        "__attribute__((aligned(32)));",
        "static struct tvmgen_hand_workspace_pools pools = {pool_dtcm, pool_sram};",
        "static struct tvmgen_hand_state state;",
    ]
    assert values["INPUTS"] == "tvmgen_hand_map_inputs(&pools)"
    step = "tvmgen_hand_reset(&state) != 0 || tvmgen_hand_step(&state, &pools) != 0"
    assert values["FAILED"] == step


def test_own_template(model: Model, tmp_path: Path) -> None:
    template = tmp_path / "mine"
    (template / "@UPPER_NAME@").mkdir(parents=True)
    (template / "Makefile.in").write_text("out/@NAME@.o:\n\tmkdir out && $(CC) -c -Iinclude ")
    with (template / "Makefile.in").open("a") as makefile:
        makefile.write("model/@NAME@_lib0.c -o $@\n")
    script = template / "@UPPER_NAME@" / "run.sh"
    script.write_text("echo @NAME@\n")
    script.chmod(0o755)
    project = create_library(model, template, tmp_path / "p")
    copied = tmp_path / "p" / "HAND" / "run.sh"
    assert copied.read_text() == "echo @NAME@\n" and copied.stat().st_mode & 0o100
    assert json.loads((tmp_path / "p" / "project.json").read_text())["platform"] == "template"
    build_library(project)
    assert (tmp_path / "p" / "out" / "hand.o").is_file()
    with pytest.raises(BuildError, match=r"^make failed in .*error"):
        (tmp_path / "p" / "model" / "hand_lib0.c").write_text("int broken\n")
        (tmp_path / "p" / "out" / "hand.o").unlink()
        (tmp_path / "p" / "out").rmdir()
        build_library(project)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("x.txt.in", b"@NAME@ @NOTHING@", r"x\.txt\.in: there is no key @NOTHING@, only NAME"),
        ("@NAM@.txt", b"", "no key @NAM@"),
        ("x.bin.in", b"\xff\xfe\x00", "is no text"),
    ],
)
def test_templates_that_cannot_be_filled(
    model: Model, tmp_path: Path, name: str, content: bytes, found: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_bytes(content)
    with pytest.raises(InputError, match=found):
        create_library(model, tmp_path / "mine", tmp_path / "p")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_where_libraries_are_not_written(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of templates"):
        create_library(model, tmp_path / "none", tmp_path / "p")
    with pytest.raises(InputError, match="lies in the template"):
        create_library(model, tmp_path, tmp_path / "p")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "CMakeLists.txt").write_text("mine")
    with pytest.raises(OutputError, match="not a project"):
        create_library(model, "cmake", tmp_path / "p", force=True)
    assert LibraryProject.open(tmp_path / "p") is None


def test_missing_cmake(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = create_library(model, "cmake", tmp_path / "p")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingToolError, match="apt-get install cmake"):
        build_library(project)
