from __future__ import annotations

import json
import os
import stat

import pytest


@pytest.fixture
def bench(monkeypatch):
    import bench

    tiny = bench.Workload(3, 4, 8, 2, ((4, 6), (2, 2)))
    monkeypatch.setattr(bench, "WORKLOADS", {"TINY": tiny})
    return bench


def run(bench, *more):
    return bench.main(["--workloads", "TINY", "--boards", "mps2-an386", *map(str, more)])


def test_a_tiny_workload(bench, tmp_path, capsys):
    places = tmp_path / "b.json", tmp_path / "b.md"
    assert run(bench, "--json", places[0], "--markdown", places[1]) == 0
    rows = json.loads(places[0].read_text())["results"]
    assert [(row["workload"], row["weights"]) for row in rows] == [
        ("TINY", "dense"),
        ("TINY", "factored"),
    ]
    dense, factored = rows
    assert dense["macs"] == 3 * 4 * 8 * 12 + 8 * 2
    assert factored["macs"] < dense["macs"]
    assert (dense["factors"], factored["factors"]) == ("", "(4×6)⊗(2×2)")
    assert factored["speed_up"] == dense["instructions"] / factored["instructions"]
    for row in rows:
        assert row["instructions_per_mac"] == row["instructions"] / row["macs"]
        assert row["max_difference"] < 1e-6
        assert sum(operator["instructions"] for operator in row["operators"]) > 0
    markdown, shown = places[1].read_text(), capsys.readouterr().out
    assert f"| {round(dense['instructions']):,} |" in markdown
    assert "mps2-an386" in shown and f"{factored['weights_bytes']:,}" in shown


def test_a_wrong_result_is_an_error(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "TOLERANCE", -1.0)
    assert run(bench) == 1
    errors = capsys.readouterr().err
    assert "Wrong: TINY dense on mps2-an386" in errors and "Wrong: TINY factored" in errors


def test_readme_is_rewritten_between_the_markers(bench, monkeypatch, tmp_path):
    readme = tmp_path / "README.md"
    first, last = bench.MARKERS
    readme.write_text(f"before\n{first}old\n{last}after\n")
    monkeypatch.setattr(bench, "README", readme)
    monkeypatch.setattr(bench, "BOARDS", ("mps2-an386",))
    assert run(bench, "--readme") == 0
    text = readme.read_text()
    assert text.startswith(f"before\n{first}") and text.endswith(f"{last}after\n")
    assert "| TINY | dense | mps2-an386 |" in text and "old" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workloads", "KWS,NONE"], "no workload"),
        (["--boards", "host"], "counts no instructions"),
        (["--boards", "mps2-an38"], "mps2-an386"),
        (["--readme", "--boards", "mps2-an386"], "leave the filters out"),
        (["--json", "/nowhere/b.json"], "no folder /nowhere"),
    ],
)
def test_mistakes_are_told_before_the_work(arguments, message, capsys):
    import bench

    assert bench.main(arguments) == 4
    assert message in capsys.readouterr().err


def test_workloads_fit_their_factors():
    import bench

    for work in bench.WORKLOADS.values():
        pairs = work.factors if work.apart else (work.factors,)
        columns = [n1 * n2 for (_, n1), (_, n2) in pairs]
        assert sum(columns) == work.inputs + work.hidden
        assert all(m1 * m2 == work.hidden for (m1, _), (m2, _) in pairs)


def test_the_door_is_executable():
    import bench

    door = bench.README.parent / "scripts" / "bench"
    assert os.stat(door).st_mode & stat.S_IXUSR
