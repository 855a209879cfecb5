"""Checks that every page of a report must pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

VOID = {"meta", "link", "br", "path", "use", "rect"}


class Elements(HTMLParser):
    """Follows the elements of a page, all of which must be closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def values(self, *names: str) -> list[str]:
        return [given[n] for _, given in self.seen for n in names if given.get(n)]

    def count(self, tag: str) -> int:
        return sum(tag == one for one, _ in self.seen)


def _check(page: str) -> None:
    """A page is well-formed, asks for no other file, and its links lead somewhere."""
    elements = Elements(page)
    ids = elements.values("id")
    assert len(ids) == len(set(ids))
    links = elements.values("href", "src", "xlink:href")
    assert all(link[0] == "#" and link[1:] in ids for link in links)
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    assert elements.seen[0] == ("html", {"lang": "en"})
    assert elements.count("h1") == elements.count("main") == 1
    assert elements.count("script") == 0
    assert all(given["scope"] == "col" for tag, given in elements.seen if tag == "th")
    charts = [given for tag, given in elements.seen if tag == "svg"]
    assert all(given["role"] == "img" for given in charts)
    assert elements.count("title") == 1 + len(charts)


@pytest.fixture(scope="session")
def check() -> Callable[[str], None]:
    """Raises AssertionError for what is wrong with a page."""
    return _check
