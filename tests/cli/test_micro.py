from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

SOURCE = """\
#include "tvmgen_kws.h"
int32_t tvmgen_kws_run(struct tvmgen_kws_inputs* inputs, struct tvmgen_kws_outputs* outputs) {
  const float* const x = (const float*)inputs->x;
  const int32_t* const word = (const int32_t*)inputs->word;
  for (int32_t i = 0; i < 12; ++i) ((float*)outputs->output)[i] = x[i] + (float)word[0];
  return 0;
}
"""
HEADER = """\
#include <stdint.h>
#define TVMGEN_KWS_X_SIZE 1000
#define TVMGEN_KWS_WORD_SIZE 8
#define TVMGEN_KWS_OUTPUT_SIZE 48
#define TVMGEN_KWS_WORKSPACE_SIZE 0
#define TVMGEN_KWS_OPERATOR_COUNT 0
struct tvmgen_kws_inputs { void* x; void* word; };
struct tvmgen_kws_outputs { void* output; };
int32_t tvmgen_kws_run(struct tvmgen_kws_inputs* inputs, struct tvmgen_kws_outputs* outputs);
"""


@pytest.fixture
def archive(tmp_path, driver, compiled) -> Path:
    """An archive that loads as a model which builds and runs on the host."""
    sources = {"kws_lib0.c": SOURCE}
    model = replace(compiled.model, target="host", header=HEADER, sources=sources, operators=())
    driver.compiled = replace(compiled, model=model)
    path = tmp_path / "m.tar"
    path.write_bytes(b"archive")
    return path


@pytest.fixture
def project(tvm_kp_main, archive) -> Path:
    folder = archive.parent / "project"
    answer = tvm_kp_main("micro", "create", folder, archive, "host")
    assert answer.code == 0, answer.err
    return folder


def test_no_step_prints_help(tvm_kp_main):
    answer = tvm_kp_main("micro")
    assert answer.code == 1
    assert "create" in answer.err and answer.out == ""


def test_build_and_run(tvm_kp_main, project, tmp_path):
    answer = tvm_kp_main("micro", "build", project, "host")
    assert answer.code == 0, answer.err
    x = np.arange(500, dtype="float32").reshape(2, 1, 25, 10)
    np.savez(tmp_path / "x.npz", x=x, word=np.full((2, 2), 3, "int32"))
    answer = tvm_kp_main(
        *("run", project, "--device", "micro", "-i", tmp_path / "x.npz"),
        *("-o", tmp_path / "y.npz", "--repeat", "2", "--print-time"),
    )
    assert answer.code == 0, answer.err
    with np.load(tmp_path / "y.npz") as written:
        np.testing.assert_array_equal(written["output"], x.reshape(2, 1, -1)[..., :12] + 3)
    (line,) = (line for line in answer.out.splitlines() if line.startswith("milliseconds"))
    assert line.split()[1] == "4"


def test_flash_says_that_there_is_nothing_to_flash(tvm_kp_main, project):
    answer = tvm_kp_main("micro", "flash", project, "host")
    assert answer.code == 0
    assert answer.out.startswith("Nothing to flash: host")


def test_board_of_ones_choice(tvm_kp_main, driver, archive, tmp_path):
    answer = tvm_kp_main(
        *("micro", "create", tmp_path / "p", archive, "mps2"),
        *("--project-option", "board=mps2-an385"),
    )
    assert answer.code == 0, answer.err
    assert "mps2-an385" in answer.out
    flashed = tvm_kp_main("micro", "flash", tmp_path / "p", "mps2")
    assert "Nothing to flash: mps2-an385 is QEMU's mps2-an385" in flashed.out


def test_existing_folder_needs_force(tvm_kp_main, project, archive):
    answer = tvm_kp_main("micro", "create", project, archive, "host")
    assert answer.code == 4
    assert "exists" in answer.err and "force" in answer.err
    assert tvm_kp_main("micro", "create", project, archive, "host", "-f").code == 0


def test_list_options(tvm_kp_main):
    command = ("micro", "create", "p", "m.tar")
    answer = tvm_kp_main(*command, "mps2", "--list-options")
    assert answer.code == 0
    _, head, _, *rows = (line.split() for line in answer.out.splitlines())
    assert head == ["name", "type", "choices", "default", "steps", "help"]
    listed = {row[0]: row[1:] for row in rows if row}
    assert listed["project_type"][:5] == ["str", "host_driven", "batch", "host_driven", "create"]
    assert listed["profile"][:4] == ["bool", "–", "False", "build"]
    attached = tvm_kp_main(*command, "board", "--list-options").out
    assert "build, flash" in attached and "batch" not in attached
    library = tvm_kp_main(*command, "cmake", "--list-options").out
    assert "board" in library and "profile" not in library


def test_keys_of_templates_are_listed(tvm_kp_main, tmp_path):
    answer = tvm_kp_main("micro", "create", "p", "m.tar", tmp_path, "--list-options")
    assert answer.code == 0
    assert "@SHOW_OUTPUTS@" in answer.out


def test_library(tvm_kp_main, archive, tmp_path):
    folder = tmp_path / "library"
    made = tvm_kp_main("micro", "create", folder, archive, "zephyr")
    assert made.code == 0, made.err
    assert "not built with its SDK: in that folder, type west build" in made.out
    assert made.out.count("\n") == 1
    built = tvm_kp_main("micro", "build", folder, "zephyr")
    assert built.code == 4 and "west build -b BOARD samples/kws" in built.err
    flashed = tvm_kp_main("micro", "flash", folder, "zephyr")
    assert flashed.code == 4 and "type west flash" in flashed.err
    assert "give zephyr" in tvm_kp_main("micro", "build", folder, "cmake").err
    again = tvm_kp_main("micro", "create", folder, archive, "cmake", "-f")
    assert again.code == 0 and "tvm-kp micro build builds it" in again.out


def test_own_template(tvm_kp_main, archive, tmp_path):
    template, folder = tmp_path / "mine", tmp_path / "made"
    template.mkdir()
    (template / "notes.txt.in").write_text("@NAME@ for @TARGET@\n")
    made = tvm_kp_main("micro", "create", folder, archive, template)
    assert made.code == 0, made.err
    assert (folder / "notes.txt").read_text() == "kws for host\n"
    of_tvmc = ("template", "--template-dir", template)
    assert tvm_kp_main("micro", "create-project", folder, archive, *of_tvmc, "-f").code == 0
    for platform in ((template,), of_tvmc):
        built = tvm_kp_main("micro", "build", folder, *platform)
        assert built.code == 4 and "with that firmware's tools" in built.err


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["create", "p", "none.tar", "host"], "no archive none.tar"),
        (["create", "p", "m.tar", "mps2"], "host is of platform host, not mps2"),
        (["create", "p", "m.tar", "host", "--project-option", "board"], "NAME=VALUE"),
        (["create", "p", "m.tar", "host", "--project-option", "cpu=1"], "there are board, model"),
        (["create", "p", "m.tar", "host", "--project-option", "verbose=1"], "make in the project"),
        (["create", "p", "m.tar", "host", "--project-option", "project_type=x"], "and batch are"),
        (["create", "p", "m.tar", "template"], "--template-dir DIR"),
        (["create", "p", "m.tar", "host", "--template-dir", "."], "belong together"),
        (["create", "p", "m.tar", "mbed"], "no folder of templates; there are host, mps2, board"),
        (["build", "project", "zephyr"], "is of platform host, not zephyr"),
        (["build", "project", "mps2"], "platform host, not mps2"),
        (["build", "none", "host"], "no project folder none"),
        (["build", "project", "host", "--project-option", "profile=2"], "0 and 1"),
        (["flash", "project", "host", "--project-option", "a=1"], "there are none"),
        (["flash", ".", "host"], "project.json"),
    ],
)
def test_user_errors(tvm_kp_main, project, monkeypatch, arguments, found):
    monkeypatch.chdir(project.parent)
    answer = tvm_kp_main("micro", *arguments)
    assert answer.code == 4
    assert found in answer.err
    assert answer.err.count("\n") == 1
