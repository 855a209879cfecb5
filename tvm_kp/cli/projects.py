"""What ``micro`` and the project server do with project folders; each answers what it did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_kp.cli import project_options
from tvm_kp.errors import BuildError, InputError, ModelError, TargetError
from tvm_kp.target import LIBRARY_PLATFORMS, PLATFORMS, TEMPLATE, Target
from tvm_kp.target import names as target_names

if TYPE_CHECKING:
    from tvm_kp.artifacts import Model
    from tvm_kp.board import Project
    from tvm_kp.board.library_project import LibraryProject

# A name of PLATFORMS or LIBRARY_PLATFORMS, or a folder of templates.
Platform = str | Path


def create(
    archive: Path,
    platform: Platform | None,
    directory: Path,
    given: Mapping[str, Any],
    force: bool = False,
) -> str:
    """Write a project of ``archive``; without ``platform`` for that of the archive's target."""
    if not archive.is_file():
        raise ModelError(f"no archive {archive}: tvm-kp compile makes one")
    from tvm_kp import board, driver

    model = driver.load(archive, given.get("model"))
    if platform is None:
        platform = Target.load(str(given.get("board", model.target))).platform
    options = project_options.read(platform, "create", given)
    asked = Target.load(str(options["board"])) if "board" in options else None
    if platform not in PLATFORMS:
        return _create_library(model, platform, directory, force, asked)
    target = asked or Target.load(model.target)
    _check_platform(target, platform)
    board.create(model, target, directory, force, str(options["project_type"]))
    return f"Wrote {directory} for {target.name}"


def build(directory: Path, platform: Platform | None, given: Mapping[str, Any]) -> str:
    """Build the project in ``directory``, which must be of ``platform`` if one is given."""
    project = open_project(directory, platform)
    from tvm_kp import board
    from tvm_kp.board import library_project

    if isinstance(project, library_project.LibraryProject):
        project_options.read(project.platform, "build", given)
        library_project.build_library(project)
        return f"Built {directory}"
    options = project_options.read(project.target.platform, "build", given)
    return f"Built {board.build(project, profile=bool(options['profile']))}"


def flash(directory: Path, platform: Platform | None, given: Mapping[str, Any]) -> str:
    """Put the firmware in ``directory`` on its board."""
    project = open_project(directory, platform)
    from tvm_kp.board import library_project

    if isinstance(project, library_project.LibraryProject):
        how = library_project.advice(project, "flash")
        raise BuildError(f"{directory} is not flashed from here: {how}")
    target = project.target
    options = project_options.read(target.platform, "flash", given)
    run = f"tvm-kp run {directory} --device micro runs it"
    if target.runner.kind == "serial":
        from tvm_kp import board

        image = board.flash(project, bool(options["profile"]))
        return f"Flashed {target.name} with {image}: {run}."
    where = "this computer" if target.runner.kind == "host" else f"QEMU's {target.runner.machine}"
    return f"Nothing to flash: {target.name} is {where}. {run}."


def open_project(directory: Path, platform: Platform | None) -> Project | LibraryProject:
    """The project in ``directory``; raises InputError or TargetError if it is not as asked."""
    if not directory.is_dir():
        raise InputError(f"no project folder {directory}: tvm-kp micro create makes one")
    from tvm_kp.board import Project
    from tvm_kp.board.library_project import LibraryProject

    project = LibraryProject.open(directory) or Project.open(directory)
    found = platform_of(project)
    given = TEMPLATE if isinstance(platform, Path) else platform
    if given not in (None, found):
        raise TargetError(f"{directory} is of platform {found}, not {platform}: give {found}")
    return project


def platform_of(project: Project | LibraryProject) -> str:
    """The name of the platform that ``project`` is of."""
    from tvm_kp.board import Project

    return project.target.platform if isinstance(project, Project) else project.platform


def is_project(directory: Path) -> bool:
    """Whether there is a project in ``directory``, be it one that cannot be understood."""
    from tvm_kp.board.folder import DESCRIPTION

    return (directory / DESCRIPTION).is_file()


def find_platform(text: str, template_dir: str | None = None) -> Platform:
    """The platform that ``text`` names, or the folder of templates; raises InputError.

    ``template_dir`` is the folder of the platform ``template``: tvmc's way to give it.
    """
    if (text == TEMPLATE) != (template_dir is not None):
        raise InputError(f"the platform {TEMPLATE} and --template-dir DIR belong together")
    if text in (*PLATFORMS, *LIBRARY_PLATFORMS):
        return text
    folder = Path(template_dir or text)
    if not folder.is_dir():
        names = ", ".join((*PLATFORMS, *LIBRARY_PLATFORMS))
        raise InputError(f"{folder} is no platform and no folder of templates; there are {names}")
    return folder


def _create_library(
    model: Model, platform: Platform, directory: Path, force: bool, target: Target | None
) -> str:
    from tvm_kp.board.library_project import advice, create_library

    library = create_library(model, platform, directory, force, target)
    untried = ", not built with its SDK" if library.needs_sdk else ""
    return f"Wrote {directory}, a library{untried}: {advice(library, 'build')}"


def _check_platform(target: Target, platform: Platform) -> None:
    if target.platform != platform:
        fitting = [n for n in target_names() if Target.load(n).platform == platform]
        others = f", or create for another board ({', '.join(fitting)})" if fitting else ""
        raise TargetError(
            f"{target.name} is of platform {target.platform}, not {platform}: "
            f"give {target.platform}{others}"
        )
