from __future__ import annotations

import json
import os
import stat

import pytest


@pytest.fixture
def bench(monkeypatch):
    import bench
    import bench_host
    import workloads

    layer = workloads.WORKLOADS["KWS-LSTM"].layer
    tiny = workloads.Workload(3, 4, 8, 2, (((4, 6), (2, 2)),), layer)
    for module in (bench, bench_host):
        monkeypatch.setattr(module, "WORKLOADS", {"TINY": tiny})
    return bench


def run(bench, *more):
    return bench.main(["--workloads", "TINY", "--boards", "mps2-an386", *map(str, more)])


def test_a_tiny_workload(bench, tmp_path, capsys):
    places = tmp_path / "b.json", tmp_path / "b.md"
    chart = tmp_path / "b.svg"
    assert run(bench, "--json", places[0], "--markdown", places[1], "--chart", chart) == 0
    rows = json.loads(places[0].read_text())["results"]
    assert [(row["workload"], row["format"], row["weights"]) for row in rows] == [
        ("TINY", form, weights)
        for form in ("float32", "int16x8", "int8")
        for weights in ("dense", "factored")
    ]
    drawn = chart.read_text()
    assert all(f">{row['weights']} {row['format']}<" in drawn for row in rows)
    dense, factored, *quantized = rows
    assert dense["macs"] == 3 * 4 * 8 * 12 + 8 * 2
    assert factored["macs"] < dense["macs"]
    assert (dense["factors"], factored["factors"]) == ("", "(4×6)⊗(2×2)")
    assert factored["speed_up"] == dense["instructions"] / factored["instructions"]
    for row in rows:
        assert row["instructions_per_mac"] == row["instructions"] / row["macs"]
        assert row["snr_db"] > (100 if row["format"] == "float32" else 25)
        assert sum(operator["instructions"] for operator in row["operators"]) > 0
    assert all(row["weights_bytes"] < dense["weights_bytes"] for row in quantized[1::2])
    markdown, shown = places[1].read_text(), capsys.readouterr().out
    assert f"| {round(dense['instructions']):,} |" in markdown
    assert "mps2-an386" in shown and f"{factored['weights_bytes']:,}" in shown


def test_a_wrong_result_is_an_error(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "LEAST_SNR", {"int8": 500.0})
    assert run(bench) == 1
    errors = capsys.readouterr().err
    assert "Wrong: TINY dense int8 on mps2-an386" in errors and "Wrong: TINY factored" in errors


def test_readme_is_rewritten_between_the_markers(bench, monkeypatch, tmp_path):
    import readme

    first, last = "<!-- bench: scripts/bench --readme writes this -->\n", "<!-- end of bench -->\n"
    assert first in readme.README.read_text() and last in readme.README.read_text()
    page = tmp_path / "README.md"
    page.write_text(f"before\n{first}old\n{last}after\n")
    monkeypatch.setattr(readme, "README", page)
    monkeypatch.setattr(bench, "BOARDS", ("mps2-an386",))
    monkeypatch.setattr(bench, "LEAST_SNR", {"int8": 25.0})
    assert run(bench, "--readme") == 0
    text = page.read_text()
    assert text.startswith(f"before\n{first}") and text.endswith(f"{last}after\n")
    assert "| TINY | dense | int8 | mps2-an386 |" in text and "old" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workloads", "KWS-LSTM,NONE"], "no workload"),
        (["--formats", "int4"], "no format int4; there are float32, int16x8, int8"),
        (["--boards", "host"], "counts no instructions"),
        (["--boards", "mps2-an38"], "mps2-an386"),
        (["--readme", "--boards", "mps2-an386"], "leave the filters out"),
        (["--readme", "--host"], "give one at a time"),
        (["--networks", "/nowhere", "--workloads", "KWS-GRU"], "cannot read KWS-GRU.pt2"),
        (["--json", "/nowhere/b.json"], "no folder /nowhere"),
    ],
)
def test_mistakes_are_told_before_the_work(arguments, message, capsys):
    import bench

    assert bench.main(arguments) == 4
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "macs", "structures"),
    [
        ("MNIST-LSTM", 4 * 40 * 68, {"kronecker joint"}),
        ("KWS-LSTM", 4 * 118 * 128, {"kronecker joint"}),
        ("KWS-GRU", 3 * 154 * 164, {"kronecker joint"}),
        ("HAR1-BiLSTM", 2 * 4 * 180 * 257, {"kronecker"}),
        ("USPS-FastRNN", 32 * 48, {"kronecker joint"}),
    ],
)
def test_workloads_are_those_of_the_paper(name, macs, structures):
    """MACs of a step, dense, and that every weight of it is found to be what it was made as."""
    import workloads

    from tvm_kp import graph

    program = workloads.sample(workloads.WORKLOADS[name]).program
    mod = graph.RecognizeKronecker()(graph.normalize()(graph.import_torch(program)))
    steps = [one for one in graph.decisions(mod) if one.function != "main"]
    assert sum(one.macs_before for one in steps) == macs
    assert {one.structure for one in steps} == structures


def test_this_cpu(bench, tmp_path, capsys):
    assert bench.main(["--host", "--workloads", "TINY", "--json", str(tmp_path / "h.json")]) == 0
    dense, factored = json.loads((tmp_path / "h.json").read_text())["results"]
    assert (dense["weights"], factored["weights"]) == ("dense", "factored")
    for row in (dense, factored):
        assert row["max_difference"] < 1e-5
        assert row["seconds"] > 0 and row["pytorch_seconds"] > 0
    assert factored["speed_up"] == dense["seconds"] / factored["seconds"]
    assert "PyTorch ms" in capsys.readouterr().out


def test_training(bench, tmp_path, monkeypatch, capsys):
    import bench_training

    monkeypatch.setattr(bench_training, "STEPS", 2)
    place = tmp_path / "t.json"
    monkeypatch.setattr(bench, "WORKLOADS", {"USPS-FastRNN": None})
    assert bench.main(["--training", "--workloads", "USPS-FastRNN", "--json", str(place)]) == 0
    rows = json.loads(place.read_text())["results"]
    assert [row["form"] for row in rows[::3]] == ["dense", "(4×12)⊗(8×4)"]
    assert all(row["times_dense"] == row["seconds"] / rows[0]["seconds"] for row in rows)
    assert "times dense" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["bench", "reproduce"])
def test_the_doors_are_executable(name):
    import readme

    door = readme.README.parent / "scripts" / name
    assert os.stat(door).st_mode & stat.S_IXUSR
