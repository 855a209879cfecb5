"""The wheel, built and used outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tvm_kp
from tvm_kp.target import content_dir, names

CHECKOUT = Path(__file__).parent.parent
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", CHECKOUT, "--no-deps", "-w", folder], check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([*PIP, "install", "--no-deps", "--target", folder, wheel], check=True)
    return folder


def python(installed: Path, *arguments: str) -> str:
    """The output of a Python that sees the installed package and not the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, *arguments]
    answer = subprocess.run(
        command, cwd=installed.parent, env=environment, capture_output=True, text=True, check=True
    )
    return answer.stdout


def files(folder: Path) -> set[str]:
    paths = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(folder).as_posix() for p in paths}


def test_wheel_has_the_package_and_its_content(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"tvm_kp/{name}" for name in files(Path(tvm_kp.__file__).parent)}
    for content in ("targets", "schedules"):
        expected |= {f"tvm_kp/{content}/{name}" for name in files(CHECKOUT / content)}
    package = {name for name in inside if ".dist-info/" not in name}
    assert package == expected
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_wheel_names_its_commands(wheel):
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = (n for n in archive.namelist() if n.endswith("entry_points.txt"))
    text = archive.read(entry_points).decode()
    assert "tvm-kp = tvm_kp.cli.main:main" in text
    assert "tvmc = tvm_kp.cli.main:main" in text
    assert "[tvm.backends]\ntvm_kp = tvm_kp.autoload:register" in text


def test_content_is_found_in_an_installation(installed):
    code = "from tvm_kp.target import content_dir as c; print(c('targets'), c('schedules'))"
    found = [Path(text) for text in python(installed, "-c", code).split()]
    assert found == [installed / "tvm_kp" / "targets", installed / "tvm_kp" / "schedules"]


def test_command_works_in_an_installation(installed):
    shown = python(installed, "-m", "tvm_kp", "targets")
    assert all(name in shown for name in names())
    assert "cortex-m4" in python(installed, "-m", "tvm_kp", "targets", "mps2-an386")


def test_content_is_found_in_a_checkout():
    assert content_dir("targets") == CHECKOUT / "targets"
    assert content_dir("schedules") == CHECKOUT / "schedules"
