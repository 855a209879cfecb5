"""Writing what the user asked for: checked before the work, renamed into place after it."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_kp.errors import OutputError

if TYPE_CHECKING:
    import numpy as np


def check_file(path: Path) -> None:
    """Raise ``OutputError`` if a file cannot be written at ``path``; writes nothing that stays."""
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; name a file")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    _probe(path.parent, path)


def check_folder(path: Path) -> None:
    """Raise ``OutputError`` if files cannot be written in ``path``, which need not exist yet."""
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise OutputError(f"cannot write into {path}: {existing} is a file; name another folder")
    _probe(existing, path)


def write(path: Path, content: bytes | str) -> None:
    """Write through a temporary sibling; ``path`` is either as it was or complete."""
    data = content.encode() if isinstance(content, str) else content
    sibling = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        sibling.write_bytes(data)
        os.replace(sibling, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        sibling.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, **dict(arrays))  # type: ignore[arg-type]
    write(path, buffer.getvalue())


def _probe(folder: Path, wanted: Path) -> None:
    # Permission bits say nothing to root or on a read-only mount: only an attempt tells.
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OutputError(
            f"cannot write {wanted}: {error.strerror}; choose a place you may write to"
        ) from error
