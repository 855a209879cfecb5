"""Temporary folders, and the end of those that killed processes left behind.

A folder's owner holds a lock in it, which ends with the process, whatever ends that: a number of a
process would say nothing in another container on the same folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX, _LOCK = "tvm_kp-", ".lock"
_YOUNG_S = 60.0  # its owner may not have locked it yet


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder for temporary files, gone in the end."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        path = Path(name)
        with (path / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield path


def sweep() -> None:
    """Remove the folders of this user whose owners have ended."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            with (path / _LOCK).open("rb") as lock:
                about = os.fstat(lock.fileno())
                old = time.time() - about.st_mtime > _YOUNG_S
                if about.st_uid == os.getuid() and old and not path.is_symlink():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue  # it has no lock, is another's, or somebody holds it
