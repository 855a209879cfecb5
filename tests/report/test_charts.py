from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from tvm_kp.artifacts import Footprint, OperatorCount
from tvm_kp.report import Bars, operator_bars, size_bars, total_bars
from tvm_kp.report.charts import LONGEST_LINE, MOST_BARS, SERIES, Shares, drift_lines, svg

BARS = Bars("Bytes & more", ("flash", "RAM"), {"dense": (250_000, None), "Kronecker": (16_000, 3)})


def test_chart_is_an_element_with_names_and_values():
    chart = svg(BARS, "chart0")
    root = ElementTree.fromstring(chart)
    assert root.tag.endswith("svg")
    assert root.get("role") == "img"
    assert root[0].tag.endswith("title") and root[0].text == "Bytes & more"
    words = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert {"flash", "RAM", "dense", "Kronecker", "250,000", "16,000", "3"} <= words


def test_colors_are_left_to_the_page():
    chart = svg(BARS, "chart0")
    for variable in ("--ink", "--series-0", "--series-1"):
        assert f"var({variable})" in chart
    assert not re.search(r"#[0-9a-f]{6}\b(?!-)", chart)


def test_chart_is_the_same_every_time():
    assert svg(BARS, "chart0") == svg(BARS, "chart0")


def test_ids_of_two_charts_differ():
    def ids(prefix):
        return set(re.findall(r'\bid="([^"]*)"', svg(BARS, prefix)))

    assert ids("chart0") and not ids("chart0") & ids("chart1")


def test_references_point_to_ids_of_the_chart():
    chart = svg(BARS, "chart0")
    ids = set(re.findall(r'\bid="([^"]*)"', chart))
    assert set(re.findall(r"url\(#([^)]*)\)", chart)) <= ids
    assert set(re.findall(r'href="#([^"]*)"', chart)) <= ids


def test_more_series_than_colors():
    with pytest.raises(ValueError, match="colors"):
        svg(Bars("", ("a",), {str(i): (1,) for i in range(9)}), "chart0")


def test_models_side_by_side(result):
    footprints = {"dense": Footprint(1, 2, 3), "Kronecker": Footprint(1, 1, 3)}
    assert size_bars(footprints).series == {"dense": (3, 3), "Kronecker": (2, 3)}
    other = replace(result, operators=(OperatorCount("cell", 25, 3_000_000),))
    bars = operator_bars({"Kronecker": result, "dense": other})
    assert bars.groups == ("cell", "head")
    assert bars.series == {"Kronecker": (389_000, 2_000), "dense": (3_000_000, None)}
    totals = total_bars({"board": result, "host": replace(result, instructions=())})
    assert totals.series == {"board": (392_000,), "host": (None,)}


def test_smallest_operators_are_left_out_and_said(result):
    many = tuple(OperatorCount(f"op{i}", 1, i) for i in range(MOST_BARS + 3))
    bars = operator_bars({"m": replace(result, operators=many)})
    assert len(bars.groups) == MOST_BARS
    assert bars.groups[0] == f"op{MOST_BARS + 2}"
    assert "3 smallest" in bars.title


def words(chart):
    root = ElementTree.fromstring(svg(chart, "chart0"))
    return [element.text for element in root.iter() if element.tag.endswith("text")]


def test_long_names_are_wrapped_and_whole():
    name = "tvmgen_default_" + "fused_" * 12 + "x" * 40
    lines = [word for word in words(Bars("", (name,), {"m": (1,)})) if word != "1"]
    assert "".join(lines) == name
    assert all(len(line) <= LONGEST_LINE for line in lines[:-1]) and len(lines[-1]) == 40


def test_shares_say_how_much_of_what():
    shown = words(Shares("Memories used", {"flash": (1024, 4096), "ram": (0, 1_000_000)}))
    assert " ".join(shown) == "flash: 1,024 of 4,096 ram: 0 of 1,000,000 25.00% 0.00%"


def test_drift_is_that_of_the_states_with_the_largest_errors(quantized):
    lines = drift_lines(quantized)
    assert lines.series == {"step.h": ((1, 0.1), (2, 0.2), (3, 0.05))}
    assert drift_lines(replace(quantized, tensors=quantized.tensors[1:])) is None
    state = quantized.tensors[0]
    many = tuple(replace(state, name=f"s{i}", drift=(0.5, 0.1 * i)) for i in range(9))
    lines = drift_lines(replace(quantized, tensors=many))
    assert list(lines.series) == [f"s{i}" for i in range(8, 8 - len(SERIES), -1)]
    assert "3 smallest" in lines.title
    assert "1" in words(lines)
