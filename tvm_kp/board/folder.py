"""Folders that a command makes: whole or not at all, and never over what is no project."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tvm_kp.errors import OutputError

DESCRIPTION = "project.json"  # what a project has, and nothing else is replaced that lacks it


def write_whole(directory: Path | str, force: bool, write: Callable[[Path], None]) -> Path:
    """Make the project ``directory`` of what ``write`` puts into the empty folder that it is given.

    Returns its absolute path. Raises OutputError if there is something already: without
    ``force`` anything but an empty folder, with ``force`` anything that is not a project.
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
        write(made)
        if folder.exists():
            folder.rename(temporary / "old")
        made.rename(folder)
    except OSError as error:
        raise OutputError(f"{directory} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _check_free(folder: Path, force: bool) -> None:
    """Refuse to write over what is there, and with ``force`` over what is no project."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not force:
        raise OutputError(f"{folder} exists already; give another folder, or --force to replace it")
    if not (folder / DESCRIPTION).is_file():
        raise OutputError(f"{folder} is not a project, so it is not replaced; give another folder")
