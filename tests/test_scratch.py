from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tvm_kp import scratch

OWNER = """
import sys
from tvm_kp import scratch
with scratch.folder() as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""
HOUR = 3600


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def age(folder: Path) -> None:
    lock = folder / ".lock"
    os.utime(lock, (lock.stat().st_atime, lock.stat().st_mtime - HOUR))


def test_a_folder_is_gone_in_the_end(temporary: Path) -> None:
    with scratch.folder() as folder:
        assert folder.parent == temporary and folder.is_dir()
    assert not folder.exists()


def test_what_killed_processes_leave_is_removed_and_nothing_else(temporary: Path) -> None:
    command = [sys.executable, "-c", OWNER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    owners = [subprocess.Popen(command, **pipes) for _ in range(2)]
    killed, alive = (Path(owner.stdout.readline().strip()) for owner in owners)
    owners[0].kill()
    owners[0].wait()
    other = temporary / "tvm_kp-of-somebody"
    other.mkdir()
    scratch.sweep()
    assert killed.is_dir(), "it may be so young that its owner has not locked it"
    for folder in (killed, alive):
        age(folder)
    scratch.sweep()
    assert not killed.exists() and (alive / "file").exists() and other.is_dir()
    owners[1].communicate()
    assert not alive.exists()
