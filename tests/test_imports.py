"""Imports point one way, and what must be quick to import or usable alone imports nothing heavy."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tvm_kp

PACKAGE = Path(tvm_kp.__file__).parent
LAYERS = (
    ("__main__",),
    ("cli",),
    ("tuning",),
    ("driver", "autoload"),
    ("lowering",),
    ("compress", "graph", "kernel", "c", "board", "report"),
    (
        *(
            "artifacts",
            "target",
            "codegen",
            "toml_record",
            "uart",
            "errors",
            "kronecker",
            "structure",
            "fixedpoint",
        ),
        *("calibration", "optimization", "quantizations", "scratch", "tuning_records"),
    ),
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
WITHOUT_TVM = {"cli", "board", "report", "fixedpoint", *LAYERS[-1]} - {"structure"}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The dotted names that a file imports anywhere, ``from a import b`` as ``a.b``."""
    package = ("tvm_kp", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            names = (*base, *([node.module] if node.module else []))
            yield from (".".join((*names, alias.name)) for alias in node.names)


def own_parts(path: Path) -> set[str]:
    found = {name.split(".")[1] for name in imported(path) if name.startswith("tvm_kp.")}
    return found & LEVEL.keys()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    part = part_of(path)
    if part == "__init__":
        # Imported when a public name is first used.
        assert own_parts(path) <= {"board", "driver", "target", "tuning"}
        return
    assert part in LEVEL, f"{part} has no place in the layers"
    shared = len(LAYERS) - 1
    for other in own_parts(path) - {part}:
        below = LEVEL[other] > LEVEL[part]
        assert below or LEVEL[part] == LEVEL[other] == shared, f"{part} imports {other}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_imports(path):
    roots = {name.split(".")[0] for name in imported(path)}
    if part_of(path) in WITHOUT_TVM | {"__init__", "__main__"}:
        assert not roots & {"tvm", "tvm_ffi", "torch"}
    if part_of(path) != "report":
        assert "matplotlib" not in roots


def test_matplotlib_is_imported_when_a_chart_is_drawn():
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_import = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        assert not any("matplotlib" in ast.unparse(node) for node in at_import), path


def test_public_names_have_homes():
    assert set(tvm_kp.__all__) - {"__version__"} == set(tvm_kp.HOMES)
    assert tvm_kp.Target.__name__ == "Target"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tvm_kp.nothing
