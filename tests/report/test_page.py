from __future__ import annotations

import re

import pytest

from tvm_kp.report import Section, Table, html, operator_bars
from tvm_kp.report.page import CONTENTS_FROM, STYLE

TEXT_CONTRAST, GRAPHIC_CONTRAST = 4.5, 3.0  # of WCAG AA


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colors by WCAG 2."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_stand_out(scheme):
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    blocks = re.findall(r"color-scheme: (\w+); (--[^}]*)}", STYLE)
    colors = dict(re.findall(r"(--[\w-]+): (#\w{6})", dict(blocks)[scheme]))
    paper = colors.pop("--paper")
    # Links have the color of the second series.
    for name in ("--ink", "--faint", "--series-1"):
        assert contrast(colors[name], paper) >= TEXT_CONTRAST, name
    for name in (f"--series-{i}" for i in range(6)):
        assert contrast(colors[name], paper) >= GRAPHIC_CONTRAST, name


def test_contents_lead_to_sections(check):
    titles = [f"Part & {i % 2}" for i in range(CONTENTS_FROM)]
    page = html([Section(title) for title in titles])
    check(page)
    assert page.count("<nav") == 1
    assert page.index("<nav") < page.index('href="#1-part-0"') < page.index('id="1-part-0"')
    assert "<nav" not in html([Section("Part")] * (CONTENTS_FROM - 1))


def test_every_color_of_a_chart_is_defined(result):
    page = html([Section("Counts", charts=(operator_bars({"a": result, "b": result}),))])
    used = set(re.findall(r"var\((--[\w-]+)\)", page))
    assert used <= set(re.findall(r"(--[\w-]+):", page))


def test_ids_are_unique_over_charts(check, result):
    page = html([Section("Counts", charts=(operator_bars({"a": result}),) * 2)] * 2)
    check(page)
    assert page.count("<svg") == 4


def test_text_is_escaped(check):
    page = html([Section("<b>", "a < b", (Table("", ("<i>",), ()),))], "<u>")
    check(page)
    assert not {"<b>", "<i>", "<u>"} & set(re.findall(r"<\w+>", page))
