"""A predicate is set only where it differs."""

from __future__ import annotations

from tvm_kp.c.predicate import Predicate


def test_a_predicate_is_set_where_it_differs() -> None:
    lines: list[str] = []
    predicate = Predicate(lines)
    predicate.first(3, 16)
    predicate.first(3, 16)
    assert lines == ["movs r0, #3", "vctp.16 r0"]
    predicate.words([True, False, True, False])
    predicate.first(3, 16)
    assert lines[2:] == [f"movw r0, #{0x0F0F}", "vmsr p0, r0", "movs r0, #3", "vctp.16 r0"]
    predicate.forget()
    predicate.first(3, 16)
    assert len(lines) == 8
