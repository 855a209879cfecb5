from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tvm_kp.artifacts import OutputError
from tvm_kp.report import Places, Table, compile_sections, html, run_sections
from tvm_kp.target import Target

ARCHIVE = Path("out") / "kws.tar"


def titles(sections):
    return [section.title for section in sections]


def test_compiled_page(check, compiled, quantized):
    sections = compile_sections(replace(compiled, quantized=quantized), ARCHIVE, Places())
    assert titles(sections) == ["Decisions", "Memory", "Operators", "Accuracy", "Stages"]
    page = html(sections, "kws")
    check(page)
    assert page.startswith("<!doctype html>") and "<title>kws</title>" in page
    # Memories, parts, code and drift.
    assert page.count("<svg") == 4
    for text in (
        *("4 × (2×16) ⊗ (59×8)", "no structure within 1e-6", "all, of 4,194,304", "0.38%"),
        *("workspace", "Accuracy: 50.00% in float, 25.00% in integers", "emit"),
        "tvm-kp run out/kws.tar --profile --report run.html",
    ):
        assert text in page, text


def test_the_host_has_sizes_and_no_memories(check, compiled):
    here = replace(compiled, target=Target.load("host"))
    memory, operators = compile_sections(here, ARCHIVE)[1:3]
    assert [table.title for table in memory.tables] == ["Sizes on mps2-an386"]
    assert "kws.tar --target BOARD --profile" in operators.text
    check(html(compile_sections(here, ARCHIVE)))


def test_accuracy_of_floats(compiled):
    unknown = compile_sections(compiled, ARCHIVE)[3]
    assert "--calibration" in unknown.text and unknown.tables == unknown.charts == ()
    measured = replace(compiled, output_errors=(OutputError("scores", 0.125, 0.0625),))
    known = compile_sections(measured, ARCHIVE)[3]
    assert known.text == "" and known.tables[0].rows == (("scores", "1.2e-01", "6.2e-02"),)


def test_run_page(check, compiled, result):
    model = replace(compiled.model, inputs=(replace(compiled.model.inputs[0], scale=0.5),))
    sections = run_sections(model, "mps2-an386", result, Table("Compared", ("output",), ()))
    assert titles(sections) == ["Execution", "Operators", "Comparison", "Decisions"]
    page = html(sections, "kws")
    check(page)
    assert page.count("<svg") == 1
    for text in ("392,000", "389,000", "99.2%", "1×25×10", "<td class=number>0.5</td>"):
        assert text in page, text


def test_run_of_what_was_not_profiled(check, compiled, result):
    bare = replace(compiled.model, decisions=())
    sections = run_sections(bare, "host", replace(result, operators=()))
    assert titles(sections) == ["Execution", "Operators"]
    assert "--profile" in sections[1].text
    check(html(sections))
