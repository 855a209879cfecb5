"""Every name that comes out is an identifier of C and C++."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.c.names import c_name, c_part


@given(st.text(min_size=1))
def test_names_are_identifiers(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", c_name(name))
    assert re.fullmatch(r"[A-Za-z0-9_]*", c_part(name))


@given(st.from_regex(r"[a-z_][a-z0-9_]{8,}", fullmatch=True))
def test_identifiers_stay(name: str) -> None:
    assert c_name(name) == name


@pytest.mark.parametrize("name", ["int", "restrict", "class", "this", "2x"])
def test_keywords_and_digits_get_a_prefix(name: str) -> None:
    assert c_name(name) == f"_{name}"
    assert c_part(name) == name
