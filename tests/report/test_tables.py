from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tvm_kp.artifacts import OutputError, Pool, Recurrence
from tvm_kp.report import (
    decision_table,
    error_table,
    footprint_table,
    plan_table,
    profile_table,
    quantization_tables,
    recurrence_table,
    time_table,
    warnings,
)


def test_decisions_done_and_declined(decisions):
    table = decision_table(decisions)
    done, declined = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert done["W"] == "472×128"
    assert done["factors, or why none"] == "4 × (2×16) ⊗ (59×8)"
    assert done["error"] == "1.5e-08"
    assert done["MACs"] == "60,416 → 4,800"
    assert (declined["error"], declined["MACs"]) == ("–", "1,416")
    assert declined["factors, or why none"] == "no structure within 1e-6"


def test_one_block_is_not_counted(decisions):
    table = decision_table([replace(decisions[0], blocks=1)])
    assert table.rows[0][3] == "(2×16) ⊗ (59×8)"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"terms": 2}, "4 × (2×16) ⊗ (59×8), 2 terms"),
        ({"factors": ((118, 3), (3, 128)), "rank": 3}, "4 × (118×3) · (3×128)"),
        (
            {"factors": ((90, 8), (1, 16)), "split_row": 28},
            "4 × (90×8) ⊗ (1×16), below 28 dense rows",
        ),
        ({"factors": ((2, 4), (59, 4), (1, 8))}, "4 × (2×4) ⊗ (59×4) ⊗ (1×8)"),
        ({"nonzeros": 37}, "4 × (2×16) ⊗ (59×8), and 37 entries"),
    ],
)
def test_every_structure_is_told(decisions, changes, text):
    assert decision_table([replace(decisions[0], **changes)]).rows[0][3] == text


def test_no_decisions_are_said():
    assert "No operator" in decision_table([]).note


def test_footprint_adds_up(compiled):
    rows = footprint_table(compiled.model, compiled.footprint).rows
    for memory in ("flash", "RAM"):
        parts = {what: size for where, what, size in rows if where == memory}
        assert parts.pop("all") == sum(parts.values())


def test_how_good_the_plan_of_the_workspace_is(compiled):
    assert footprint_table(compiled.model, compiled.footprint).note == ""
    planned = replace(compiled.model, planner="best", workspace_bound=4000)
    note = footprint_table(planned, compiled.footprint).note
    assert "4,096 bytes, planned by best; no plan in one piece needs less than 4,000." in note
    pooled = replace(planned, pools=(Pool("dtcm", 96), Pool("sram", 4000)))
    assert footprint_table(pooled, compiled.footprint).note.endswith("96 in dtcm, 4,000 in sram.")


def test_times(result):
    table = time_table("mps2-an386", result)
    assert table.rows == (("instructions", 2, 392_000, 392_000, 391_000, 393_000, 1_000),)
    assert "not cycles" in table.note
    host = time_table("host", replace(result, instructions=(), seconds=(0.001, 0.003)))
    assert host.rows[0][:4] == ("milliseconds", 2, 2.0, 2.0)
    assert host.note == ""


def test_profile_is_largest_first(result):
    table = profile_table("mps2-an386", result)
    assert [row[0] for row in table.rows] == ["cell", "head"]
    assert table.rows[0][3] == "99.2%"


def test_profile_of_what_counts_nothing(result):
    table = profile_table("host", replace(result, instructions=(), operators=()))
    assert table.rows == ()
    assert "emulated board" in table.note


def test_loops_and_why_they_are_none():
    table = recurrence_table(
        [Recurrence("cell", 25, 12), Recurrence("main", 3, 9, "operand 1 of add (lv) differs")]
    )
    assert table.rows == (
        ("cell", 25, 12, "a loop again"),
        ("main", 3, 9, "operand 1 of add (lv) differs"),
    )


def test_errors_of_outputs():
    table = error_table([OutputError("scores", 0.125, 0.0625)])
    assert table.rows == (("scores", "1.2e-01", "6.2e-02"),)


def test_quantized_tensors_and_how_errors_grow(quantized):
    tensors, drift = quantization_tables(quantized)
    assert tensors.rows[0][:5] == ("step.h", "-0.5 … 0.7", "0.0055", 8, "2.50%")
    assert "12 calibration inputs" in tensors.note and "25.00% in integers" in tensors.note
    assert [row[1] for row in drift.rows] == [1, 2, 3]
    (only,) = quantization_tables(replace(quantized, tensors=quantized.tensors[1:]))
    assert only.rows[0][0] == "lv6"


def test_made_up_calibration_is_marked(quantized):
    tensors, _ = quantization_tables(replace(quantized, calibration="random"))
    assert "MADE UP AT RANDOM" in tensors.note


def test_tensors_that_saturate_are_warned_of_unless_it_is_harmless(quantized):
    (warning,) = warnings(quantized)
    assert "2.5% of the values of step.h" in warning


def test_plans_with_and_without_errors():
    form = {"form": "(2×16)⊗(59×8)", "rank": 16, "parameters": 2016, "compression": 29.97}
    row = SimpleNamespace(site="rnn", **form, macs=4800, dense_macs=60416)
    table = plan_table([row])
    assert table.rows == (("rnn", "(2×16)⊗(59×8)", 16, 2016, 29.97, 4800, 60416),)
    assert len(table.columns) == 7 and "one time step" in table.note
    measured = plan_table([row], [0.5])
    assert measured.columns[-1] == "error" and measured.rows[0][-1] == 0.5
    assert "nothing is compressed" in plan_table([]).note
