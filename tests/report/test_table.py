from __future__ import annotations

import io

from rich.console import Console

from tvm_kp.report import Table
from tvm_kp.report.table import text

TABLE = Table("Sizes", ("what", "bytes"), (("code [core]", 12345), ("<none>", "–")), "a note")


def shown(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def test_numbers_stand_to_the_right_and_brackets_stay():
    lines = shown(TABLE, 120).splitlines()
    assert lines[0] == "Sizes"
    assert "code [core]" in lines[3]
    assert lines[3].rstrip().endswith("12,345")
    assert lines[4].rstrip().endswith("     –")
    assert "a note" in lines


def test_a_wide_console_breaks_only_the_last_column():
    name, reason = "tvmgen_default_" + "fused_" * 8, "words " * 30
    lines = shown(Table("", ("operator", "reason"), ((name, reason),)), 120).splitlines()
    assert any(name in line for line in lines)
    assert max(map(len, lines)) <= 120


def test_a_narrow_console_loses_nothing():
    name = "tvmgen_default_" + "fused_" * 8
    whole = shown(Table("", ("operator", "reason"), ((name, "why"),)), 30)
    assert name in "".join(part.split("why")[0].strip() for part in whole.splitlines()[2:])


def test_html_is_escaped():
    page = TABLE.to_html()
    assert "<td>&lt;none&gt;</td>" in page
    assert "<td class=number>12,345</td>" in page
    assert "<p class=note>a note</p>" in page
    assert "<th scope=col>what</th><th scope=col class=number>bytes</th>" in page


def test_long_cells_may_be_broken_anywhere():
    page = Table("", ("operator",), (("tvmgen_default_fused_matmul",), ("short",))).to_html()
    assert "<td class=long>tvmgen_default_fused_matmul</td>" in page
    assert "<td>short</td>" in page


def test_markdown():
    lines = Table("t", ("a|b", "bytes"), (("x", 12345), ("y|", 6))).to_markdown().splitlines()
    assert lines == ["| a\\|b | bytes |", "| --- | --: |", "| x | 12,345 |", "| y\\| | 6 |"]


def test_text():
    assert [text(cell) for cell in ("a", 60416, 0.123456, 12345.6)] == [
        "a",
        "60,416",
        "0.1235",
        "1.235e+04",
    ]
