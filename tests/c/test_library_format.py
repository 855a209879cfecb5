"""Archives keep everything, and what is none is refused in one line."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from tvm_kp.artifacts import Model, Pool
from tvm_kp.c import library_format
from tvm_kp.errors import ModelError, OutputError


@pytest.fixture
def model(compiled) -> Model:
    sources = {"kws_lib0.c": "int a;\n", "kws_lib1.c": "int b;\n"}
    return replace(
        compiled.model,
        header="/* h */\n",
        sources=sources,
        relax="m\n",
        relax_json="{}",
        params=b"\1\0",
    )


def test_what_was_written_is_read(model: Model, tmp_path: Path) -> None:
    library_format.write([model], tmp_path / "module.tar")
    assert library_format.read(tmp_path / "module.tar") == (model,)
    assert [path.name for path in tmp_path.iterdir()] == ["module.tar"]


def test_objects_are_read(model: Model, tmp_path: Path) -> None:
    objects = {"kws_lib0.o": b"\x7fELF", "hooks/kws_lib0.o": b"\0"}
    of_llvm = replace(model, sources={}, objects=objects, core="cortex-m4")
    library_format.write([of_llvm], tmp_path / "module.tar")
    assert library_format.read(tmp_path / "module.tar") == (of_llvm,)
    with tarfile.open(tmp_path / "module.tar") as archive:
        code = {name for name in archive.getnames() if name.startswith("./codegen/host/")}
    assert code == {
        "./codegen/host/include/tvmgen_kws.h",
        "./codegen/host/lib/kws_lib0.o",
        "./codegen/host/lib/hooks/kws_lib0.o",
    }


def test_how_memory_is_laid_out_is_read(model: Model, tmp_path: Path) -> None:
    pools = (Pool("sram", 4000), Pool("dtcm", 96))
    laid_out = replace(
        model, planner="exact", workspace_bound=4000, pools=pools, pool_alignment=16,
        workspace_io=True, constants_section=".qspi",
    )  # fmt: skip
    library_format.write([laid_out], tmp_path / "module.tar")
    assert library_format.read(tmp_path / "module.tar") == (laid_out,)


def test_several_models_have_names_of_their_own(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "module.tar"
    other = replace(model, name="kws_more", sources={"kws_more_lib0.c": "int c;\n"})
    library_format.write([other, model], path)
    assert sorted(library_format.read(path), key=lambda m: m.name) == [model, other]
    before = path.read_bytes()
    with pytest.raises(ModelError, match=r"2 models are called kws, .* a --module-name"):
        library_format.write([model, other, model], path)
    with pytest.raises(ModelError, match="no model"):
        library_format.write([], path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_members_and_metadata_are_those_of_version_7(model: Model, tmp_path: Path) -> None:
    library_format.write([model], tmp_path / "module.tar")
    with tarfile.open(tmp_path / "module.tar") as archive:
        assert sorted(archive.getnames()) == [
            "./codegen/host/include/tvmgen_kws.h",
            "./codegen/host/src/kws_lib0.c",
            "./codegen/host/src/kws_lib1.c",
            "./metadata.json",
            "./parameters/kws.params",
            "./src/kws.json",
            "./src/kws.relax",
        ]
        text = archive.extractfile("./metadata.json").read().decode()
    metadata = json.loads(text)
    assert text == json.dumps(metadata, indent=2, sort_keys=True) + "\n"
    assert metadata["version"] == 7
    module = metadata["modules"]["kws"]
    assert module["executors"] == ["aot"] and module["style"] == "full-model"
    (main,) = module["memory"]["functions"]["main"]
    assert main["workspace_size_bytes"] == 4096
    assert main["inputs"]["word"]["size"] == 8 and main["outputs"]["output"]["dtype"] == "float32"


@pytest.mark.parametrize("content", [b"", b"no archive", bytes(10240)])
def test_no_archive(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a Model Library Format archive") as error:
        library_format.read(path)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no archive at"):
        library_format.read(tmp_path / "none.tar")


def test_an_archive_cut_short(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    library_format.write([model], path)
    for share in (0.1, 0.5):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(ModelError):
            library_format.read(path)


def test_a_place_that_cannot_be_written(model: Model, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        library_format.write([model], tmp_path / "none" / "module.tar")
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        library_format.write([model], tmp_path / "folder.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.tar"]
