from __future__ import annotations

import json
import os

import numpy as np
import pytest

from tvm_kp.cli import output
from tvm_kp.errors import OutputError


def test_write_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    output.write(path, "old")
    output.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        output.write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_check_file_writes_nothing(tmp_path):
    output.check_file(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("path", "found"), [(".", "is a folder"), ("no/file", "no folder")])
def test_check_file_refuses(tmp_path, path, found):
    with pytest.raises(OutputError, match=found):
        output.check_file(tmp_path / path)


def test_check_file_where_writing_is_refused():
    # Not even root may make a file there.
    with pytest.raises(OutputError, match="cannot write"):
        output.check_file(output.Path("/proc/tvm_kp.json"))


def test_check_folder(tmp_path):
    output.check_folder(tmp_path / "deep" / "down")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        output.check_folder(tmp_path / "file" / "below")


def test_json_and_npz(tmp_path):
    output.write_json(tmp_path / "a.json", {"instructions": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"instructions": None}
    output.write_npz(tmp_path / "a.npz", {"output": np.ones(3)})
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["output"], np.ones(3))
