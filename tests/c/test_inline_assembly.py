"""C tells a compiler which registers and words in memory assembly changes."""

from __future__ import annotations

from tvm_kp.c.inline_assembly import clobbered, inline_assembly

LINES = ["ldmia %[x]!, {r4, r12}", "str r9, %[word_r9]", "vfma.f32 q0, q7, r4", "le lr, 1b"]


def test_registers_that_are_no_operands_are_named() -> None:
    assert clobbered(LINES) == ["lr", "q0", "q7", "r12", "r4", "r9"]
    text = "\n".join(inline_assembly(LINES, {"x": "const float *"}))
    assert ': "lr", "q0", "q7", "r12", "r4", "r9", "cc", "memory");' in text
    assert '[x] "+r"(x), [word_r9] "=m"(word_r9)' in text and "  uint32_t word_r9;" in text


def test_operands_may_have_registers_of_their_own() -> None:
    operands = {"x": "const float *", "by": "int32_t"}
    text = "\n".join(inline_assembly(LINES, operands, {"by": "r9"}))
    assert 'register int32_t moved_by __asm__("r9") = by;' in text
    assert '[x] "+r"(x), [by] "+r"(moved_by)' in text and '"r4", "cc"' in text
