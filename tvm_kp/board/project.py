"""Project folders: a model with its harness, built by plain ``make`` or from here."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tvm_kp.artifacts import Model, Operator, RunResult, TensorSpec
from tvm_kp.board import emulator, host, toolchain
from tvm_kp.board.layout import FORMAT, harness_flags, image_name, link_flags, write_project
from tvm_kp.board.records import as_records
from tvm_kp.errors import OutputError, TargetError
from tvm_kp.target import Target

RUNNERS = {"host": host.run, "qemu": emulator.run}


@dataclass(frozen=True)
class Project:
    """A project folder and what its project.json says."""

    directory: Path
    model: Model
    target: Target

    @classmethod
    def open(cls, directory: Path | str) -> Project:
        """The project in ``directory``; TargetError if there is none, or one not understood."""
        folder = Path(directory).resolve()
        path = folder / "project.json"
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            if table["format"] != FORMAT:
                raise TargetError(f"{path}: format {table['format']}, expected {FORMAT}")
            target = Target.from_dict(table["target"], folder / "board", str(path))
            return cls(folder, _read_model(table["model"], folder / "model"), target)
        except OSError as error:
            message = f"{directory} is no project folder ({error.filename}: {error.strerror})"
            raise TargetError(f"{message}; make one with `micro create`") from None
        except (ValueError, KeyError, TypeError) as error:
            raise TargetError(f"{path} cannot be understood ({error!r}); create it again") from None

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        *,
        repeat: int = 1,
        profile: bool = False,
        timeout_s: float | None = None,
    ) -> RunResult:
        """Build the project and run it ``repeat`` times on ``inputs``: what `as_records` takes.

        Every run is measured; the outputs are those of the first.
        """
        records = as_records(self.model.inputs, inputs)
        count = len(next(iter(records.values()), ()))
        repeated = {name: np.concatenate([array] * repeat) for name, array in records.items()}
        result = RUNNERS[self.target.runner.kind](
            lambda profiled: build(self, profiled),
            self.model,
            self.target,
            repeated,
            profile,
            timeout_s or self.target.runner.timeout_s,
        )
        first = {name: array[:count] for name, array in result.outputs.items()}
        return replace(result, outputs=first)


def create(model: Model, target: Target, directory: Path | str, force: bool = False) -> Project:
    """Write the project of ``model`` for ``target`` into ``directory``, whole or not at all.

    Raises OutputError if there is something already: without ``force`` anything but an empty
    folder, with ``force`` anything that is not a project.
    """
    folder = Path(directory).resolve()
    _check_free(folder, force)
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        # mkdtemp keeps others out; a project is an ordinary folder.
        made = temporary / folder.name
        made.mkdir()
        write_project(model, target, made)
        if folder.exists():
            folder.rename(temporary / "old")
        made.rename(folder)
    except OSError as error:
        raise OutputError(f"{directory} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return Project(folder, model, target)


def build(project: Project, profile: bool = False) -> Path:
    """The firmware (ELF) or host library of ``project``; with ``profile`` it calls the hooks.

    It lies where the project's Makefile puts it. Raises MissingToolError, BuildError, FitError,
    OutputError.
    """
    target, folder = project.target, project.directory
    flags = [f"-I{folder / name}" for name in ("model", "include")]
    flags += [*harness_flags(target), *(["-DTVMGEN_PROFILE"] if profile else [])]
    out = folder / "build" / ("profile" if profile else "")
    toolchain.find(target)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="objects-", dir=out) as name:
            fresh = Path(name) / image_name(target)
            objects = []
            for part in ("model", "src", "board"):
                strict = toolchain.MODEL_CFLAGS if part == "model" else ()
                sources = sorted((folder / part).glob("*.c"))
                objects += toolchain.compile_objects(
                    sources, target, Path(name) / part, (*flags, *strict)
                )
            toolchain.link(objects, target, fresh, link_flags(target, folder / "board"))
            return fresh.replace(out / fresh.name)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from None


def _check_free(folder: Path, force: bool) -> None:
    """Refuse to write over what is there, and with ``force`` over what is no project."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not force:
        raise OutputError(f"{folder} exists already; give another folder, or --force to replace it")
    if not (folder / "project.json").is_file():
        raise OutputError(f"{folder} is not a project, so it is not replaced; give another folder")


def _read_model(table: Mapping[str, Any], folder: Path) -> Model:
    """The model of a project: what project.json says, and the C as it is now."""
    specs = {
        key: tuple(
            TensorSpec(t["name"], tuple(t["shape"]), t["dtype"], t["scale"]) for t in table[key]
        )
        for key in ("inputs", "outputs")
    }
    return Model(
        name=table["name"],
        target=table["target"],
        inputs=specs["inputs"],
        outputs=specs["outputs"],
        header=(folder / f"tvmgen_{table['name']}.h").read_text(encoding="utf-8"),
        sources={p.name: p.read_text(encoding="utf-8") for p in sorted(folder.glob("*.c"))},
        operators=tuple(Operator(**o) for o in table["operators"]),
        workspace_bytes=table["workspace_bytes"],
        constants_bytes=table["constants_bytes"],
        tables_bytes=table["tables_bytes"],
        state_bytes=table["state_bytes"],
    )
