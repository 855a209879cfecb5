"""Projects that are a library: a model's C with what adds it to somebody else's firmware.

Each is made of a template, a folder whose files are copied. Names of files and folders, and the
text of files that end in ``.in`` (which is dropped), have @KEYS@ that are filled in, see
`template_keys`. The C goes to ``model`` and its header to ``include``; beside Arduino's
``library.properties`` both go to ``src``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm_kp.artifacts import Model
from tvm_kp.board import toolchain
from tvm_kp.board.folder import DESCRIPTION, write_whole
from tvm_kp.board.template import TEMPLATES, fill
from tvm_kp.board.template_keys import example_name, values
from tvm_kp.errors import BuildError, InputError, MissingToolError, TargetError
from tvm_kp.target import LIBRARY_PLATFORMS, TEMPLATE, Target
from tvm_kp.target import names as target_names

# What builds a folder that has this file.
_BUILDERS = {
    "CMakePresets.json": (
        ("cmake", "--preset", "default"),
        ("cmake", "--build", "--preset", "default"),
    ),
    "Makefile": (("make",),),
}
_OF_SOURCES = ("zephyr", "arduino")
# What is typed in the folder of a library, by platform and step.
_COMMANDS = {
    ("zephyr", "build"): "west build -b BOARD samples/{name}",
    ("zephyr", "flash"): "west flash",
    ("arduino", "build"): "arduino-cli compile --library . --fqbn FQBN examples/{example}",
    ("arduino", "flash"): "arduino-cli upload --fqbn FQBN --port PORT examples/{example}",
}


@dataclass(frozen=True)
class LibraryProject:
    """A library's folder; ``platform`` is one of `target.LIBRARY_PLATFORMS`, or ``template``."""

    directory: Path
    model: str
    platform: str

    @property
    def needs_sdk(self) -> bool:
        """Whether nothing here builds it, so that nobody has seen it built."""
        return self.platform in _OF_SOURCES

    @classmethod
    def open(cls, directory: Path | str) -> LibraryProject | None:
        """The library in ``directory``, or None if what is there, if anything, is none."""
        folder = Path(directory).resolve()
        try:
            table = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            return cls(folder, str(table["model"]), str(table["platform"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def create_library(
    model: Model,
    template: Path | str,
    directory: Path | str,
    force: bool = False,
    target: Target | None = None,
) -> LibraryProject:
    """Write ``model`` into ``directory`` as the library that ``template`` makes of it.

    ``template`` is one of `target.LIBRARY_PLATFORMS` or a folder; ``target`` is what the model was
    compiled for, where that is no shipped one. Raises InputError for a template that cannot be
    filled, TargetError for an object where C must be, OutputError as `write_whole`.
    """
    own = template not in LIBRARY_PLATFORMS
    if model.objects and template in _OF_SOURCES:
        raise TargetError(
            f"a library for {template} is of sources, and model {model.name} is an object; compile "
            "it to C"
        )
    source = Path(template).resolve() if own else TEMPLATES / template
    platform = TEMPLATE if own else str(template)
    _check_template(source, Path(directory).resolve())
    if target is None and model.target in target_names():
        target = Target.load(model.target)

    def write(folder: Path) -> None:
        _fill_folder(source, folder, values(model, target))
        arduino = (folder / "library.properties").is_file()
        sources, headers = ("src", "src") if arduino else ("model", "include")
        toolchain.write_sources(model, folder / sources)
        (folder / headers).mkdir(exist_ok=True)
        (folder / sources / model.header_name).rename(folder / headers / model.header_name)
        description = {"model": model.name, "platform": platform}
        text = json.dumps(description, indent=2, sort_keys=True) + "\n"
        (folder / DESCRIPTION).write_text(text, encoding="utf-8")

    return LibraryProject(write_whole(directory, force, write), model.name, platform)


def build_library(project: LibraryProject) -> None:
    """Build ``project`` with CMake or make. Raises MissingToolError, or BuildError, also for a
    library that only an SDK builds."""
    commands = _builder(project)
    if not commands:
        raise BuildError(f"{project.directory} is not built from here: {advice(project, 'build')}")
    for command in commands:
        _run(command, project.directory)


def advice(project: LibraryProject, step: str) -> str:
    """What does ``step``, build or flash, with the tools that ``project`` is for."""
    if step == "build" and _builder(project):
        return "tvm-kp micro build builds it"
    command = _COMMANDS.get((project.platform, step))
    if command is None:
        return f"{step} the firmware that it is part of, with that firmware's tools"
    names = {"name": project.model, "example": example_name(project.model)}
    return f"in that folder, type {command.format(**names)}"


def _builder(project: LibraryProject) -> tuple[tuple[str, ...], ...]:
    found = (c for name, c in _BUILDERS.items() if (project.directory / name).is_file())
    return next(found, ())


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingToolError(
            f"{command[0]} is not installed; type: sudo apt-get install {command[0]}"
        ) from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        first = next((line for line in lines if "error" in line.lower()), "".join(lines[:1]))
        raise BuildError(f"{' '.join(command)} failed in {folder}: {first.strip()}")


def _check_template(source: Path, directory: Path) -> None:
    if not source.is_dir():
        raise InputError(f"no folder of templates {source}")
    if directory.is_relative_to(source):
        raise InputError(
            f"{directory} lies in the template that it is made of: give another folder"
        )


def _fill_folder(source: Path, folder: Path, filled: Mapping[str, str]) -> None:
    """Copy the files of ``source`` into ``folder``, filled."""
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        copy = folder / fill(str(path.relative_to(source)), filled, path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".in":
            shutil.copy(path, copy)
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{path} is no text: only texts can end in .in") from None
        copy.with_suffix("").write_text(fill(text, filled, path), encoding="utf-8")
