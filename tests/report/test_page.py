from __future__ import annotations

import re
from html.parser import HTMLParser

from tvm_kp.report import Section, Table, compile_sections, html, operator_bars

VOID = {"meta", "link", "br", "path", "use", "rect"}


class Balance(HTMLParser):
    """Follows the open elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.outside += [v for k, v in attributes if k in ("src", "href") and v[0] != "#"]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.outside += [v for k, v in attributes if k in ("src", "href") and v[0] != "#"]


def check(page: str) -> None:
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert balance.outside == []
    assert "@import" not in page and not re.search(r"url\((?!#)", page)


def test_compile_report(compiled):
    page = html(compile_sections(compiled), "kws")
    check(page)
    assert page.startswith("<!doctype html>")
    assert "<title>kws</title>" in page
    assert page.count("<svg") == 1
    for text in ("4 × (2×16) ⊗ (59×8)", "no structure within 1e-6", "15,776", "emit"):
        assert text in page


def test_light_and_dark():
    page = html([])
    light, dark = page.split("prefers-color-scheme: dark")
    for variable in ("--paper", "--ink", "--series-0", "--series-5"):
        assert f"{variable}:" in light and f"{variable}:" in dark


def test_every_color_of_a_chart_is_defined(result):
    page = html([Section("Counts", charts=(operator_bars({"a": result, "b": result}),))])
    used = set(re.findall(r"var\((--[\w-]+)\)", page))
    assert used <= set(re.findall(r"(--[\w-]+):", page))


def test_ids_are_unique_over_charts(result):
    page = html([Section("Counts", charts=(operator_bars({"a": result}),) * 2)])
    check(page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_text_is_escaped():
    page = html([Section("<b>", "a < b", (Table("", ("<i>",), ()),))], "<u>")
    check(page)
    assert not {"<b>", "<i>", "<u>"} & set(re.findall(r"<\w+>", page))
