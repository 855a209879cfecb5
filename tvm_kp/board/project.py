"""Project folders: a model with its harness, built by plain ``make`` or from here."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tvm_kp.artifacts import Model, Operator, Pool, RunResult, TensorSpec
from tvm_kp.board import attached, driven, emulator, host, toolchain
from tvm_kp.board.folder import DESCRIPTION, write_whole
from tvm_kp.board.layout import (
    BATCH,
    FORMAT,
    HOST_DRIVEN,
    KINDS,
    harness_flags,
    image_name,
    link_flags,
    write_project,
)
from tvm_kp.board.model_header import identity
from tvm_kp.board.records import as_records
from tvm_kp.errors import InputError, OutputError, TargetError
from tvm_kp.target import Target

RUNNERS = {"host": host.run, "qemu": emulator.run}


@dataclass(frozen=True)
class Project:
    """A project folder and what its project.json says.

    A ``batch`` runs many inferences and ends, a ``host_driven`` one answers a ``Session``;
    ``identity`` is that of the model which it was made of.
    """

    directory: Path
    model: Model
    target: Target
    kind: str
    identity: bytes

    @classmethod
    def open(cls, directory: Path | str) -> Project:
        """The project in ``directory``; TargetError if there is none, or one not understood."""
        folder = Path(directory).resolve()
        path = folder / DESCRIPTION
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            if "platform" in table:
                raise TargetError(f"{directory} is a library: run a firmware with it")
            if table["format"] != FORMAT:
                raise TargetError(f"{path}: format {table['format']}, expected {FORMAT}")
            target = Target.from_dict(table["target"], folder / "board", str(path))
            model = _read_model(table["model"], folder / "model")
            kind = KINDS[KINDS.index(table["kind"])]
            return cls(folder, model, target, kind, bytes.fromhex(table["identity"]))
        except OSError as error:
            message = f"{directory} is no project folder ({error.filename}: {error.strerror})"
            raise TargetError(f"{message}; make one with `micro create`") from None
        except (ValueError, KeyError, TypeError) as error:
            raise TargetError(f"{path} cannot be understood ({error!r}); create it again") from None

    def image_path(self, profile: bool = False, trace: bool = False) -> Path:
        """Where a build puts its image."""
        hooks = "profile" if profile else "trace" if trace else ""
        return self.directory / "build" / hooks / image_name(self.target, self.kind)

    def image(self, profile: bool = False) -> Path:
        """The image, built if it is missing or older than a file that it is made of."""
        image = self.image_path(profile)
        made_of = [self.directory / DESCRIPTION]
        for part in ("model", "include", "src", "board"):
            made_of += (self.directory / part).glob("*")
        newest = max(file.stat().st_mtime_ns for file in made_of)
        if image.is_file() and image.stat().st_mtime_ns > newest:
            return image
        return build(self, profile)

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        *,
        repeat: int = 1,
        profile: bool = False,
        timeout_s: float | None = None,
        port: str | None = None,
    ) -> RunResult:
        """Build the project and run it ``repeat`` times on ``inputs``: what `as_records` takes.

        Every run is measured; the outputs are those of the first. An attached board runs what was
        flashed; ``port`` is its serial port where that cannot be found.
        """
        records = as_records(self.model.inputs, inputs)
        count = len(next(iter(records.values()), ()))
        repeated = {name: np.concatenate([array] * repeat) for name, array in records.items()}
        timeout_s = timeout_s or self.target.runner.timeout_s
        if self.kind == HOST_DRIVEN:
            result = driven.run(self, repeated, profile, timeout_s, port)
        else:
            result = RUNNERS[self.target.runner.kind](
                lambda profiled: build(self, profiled),
                self.model,
                self.target,
                repeated,
                profile,
                timeout_s,
            )
        first = {name: array[:count] for name, array in result.outputs.items()}
        return replace(result, outputs=first)


def create(
    model: Model,
    target: Target,
    directory: Path | str,
    force: bool = False,
    kind: str = BATCH,
) -> Project:
    """Write the project of ``model`` for ``target`` into ``directory``, whole or not at all.

    Raises InputError for an unknown ``kind``, TargetError if the target cannot have one of it, and
    OutputError if there is something already: without ``force`` anything but an empty folder,
    with ``force`` anything that is not a project.
    """
    if kind not in KINDS:
        raise InputError(f"there is no project_type {kind!r}; there are {', '.join(KINDS)}")
    folder = write_whole(directory, force, lambda made: write_project(model, target, kind, made))
    return Project(folder, model, target, kind, identity(model))


def build(project: Project, profile: bool = False, trace: bool = False) -> Path:
    """The firmware (ELF) or host library of ``project``, with the hooks of a profile or a trace.

    It lies where the project's Makefile puts it, or in build/trace. Raises MissingToolError,
    BuildError, FitError, OutputError.
    """
    target, folder = project.target, project.directory
    flags = [f"-I{folder / name}" for name in ("model", "include")]
    flags += harness_flags(target, project.kind)
    hooks = {"PROFILE": profile, "TRACE": trace}
    flags += [f"-DTVMGEN_{name}" for name, wanted in hooks.items() if wanted]
    image = project.image_path(profile, trace)
    out = image.parent
    toolchain.find(target)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="objects-", dir=out) as name:
            fresh = Path(name) / image.name
            objects = []
            for part in ("model", "src", "board"):
                strict = toolchain.MODEL_CFLAGS if part == "model" else ()
                sources = sorted((folder / part).glob("*.c"))
                objects += toolchain.compile_objects(
                    sources, target, Path(name) / part, (*flags, *strict)
                )
            objects += toolchain.objects_of(folder / "model", hooks=profile or trace)
            linking = link_flags(target, folder / "board", project.kind)
            toolchain.link(objects, target, fresh, linking)
            return fresh.replace(image)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from None


def flash(project: Project, profile: bool = False) -> Path:
    """Put a project's firmware, built if it is not up to date, on its attached board; the image.

    Raises what `build` does, and RunError if the board was not flashed.
    """
    image = project.image(profile)
    attached.flash(image, project.target)
    return image


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
        objects={str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.o"))},
        core=table["core"],
        operators=tuple(
            Operator(**{**o, "output_dtypes": tuple(o["output_dtypes"])})
            for o in table["operators"]
        ),
        workspace_bytes=table["workspace_bytes"],
        constants_bytes=table["constants_bytes"],
        tables_bytes=table["tables_bytes"],
        state_bytes=table["state_bytes"],
        pools=tuple(Pool(**pool) for pool in table["pools"]),
        pool_alignment=table["pool_alignment"],
        workspace_io=table["workspace_io"],
        constants_section=table["constants_section"],
    )
