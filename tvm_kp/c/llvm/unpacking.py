"""LLVM's text of the helpers that make pairs of int16: what ``unpacking_helpers`` has in C."""

from __future__ import annotations

from collections.abc import Sequence

_TWO = "ptr %pairs, ptr %a, i32 %step, i32 %advance, i32 %count"


def _loop(name: str, parameters: str, body: Sequence[str], source: str, on: str, pairs: int) -> str:
    """``body`` again and again, with ``%to`` where ``pairs`` of int16 go and ``%from``."""
    lines = "\n".join(f"  {line}" for line in body)
    return f"""\
define i32 @{name}({parameters}) {{
  br label %loop
loop:
  %k = phi i32 [ 0, %0 ], [ %k_next, %loop ]
  %to = phi ptr [ %pairs, %0 ], [ %to_next, %loop ]
  %from = phi ptr [ %{source}, %0 ], [ %from_next, %loop ]
{lines}
  %to_next = getelementptr i32, ptr %to, i32 {pairs}
  %from_next = getelementptr {on}
  %k_next = add i32 %k, 1
  %more = icmp slt i32 %k_next, %count
  br i1 %more, label %loop, label %end
end:
  ret i32 0
}}"""


def _joined(name: str, low: str, high: str) -> list[str]:
    """``%name``, the low halves of both."""
    return [
        f"%{name}_below = and i32 {low}, 65535",
        f"%{name}_above = shl i32 {high}, 16",
        f"%{name} = or i32 %{name}_below, %{name}_above",
    ]


def _high_joined(name: str, low: str, high: str) -> list[str]:
    """``%name``, the high halves of both."""
    return [
        f"%{name}_below = lshr i32 {low}, 16",
        f"%{name}_above = and i32 {high}, -65536",
        f"%{name} = or i32 %{name}_below, %{name}_above",
    ]


def _widened(word: str) -> list[str]:
    """``%even`` and ``%odd``: the bytes 0 and 2, and 1 and 3, of a word."""
    return [
        f"%even = call i32 @llvm.arm.sxtb16(i32 {word})",
        f"%turned = call i32 @llvm.fshr.i32(i32 {word}, i32 {word}, i32 8)",
        "%odd = call i32 @llvm.arm.sxtb16(i32 %turned)",
    ]


def _stored(first: str, second: str) -> list[str]:
    return [
        f"store i32 {first}, ptr %to",
        "%to_second = getelementptr i32, ptr %to, i32 1",
        f"store i32 {second}, ptr %to_second",
    ]


def _loaded(bits: int) -> list[str]:
    """``%low`` and ``%high``, two neighbors each."""
    return [
        f"%behind = getelementptr i{bits}, ptr %from, i32 %step",
        f"%low = load i{2 * bits}, ptr %from, align {bits // 8}",
        f"%high = load i{2 * bits}, ptr %behind, align {bits // 8}",
    ]


_BOTH = [
    *_loaded(8),
    "%low_wide = zext i16 %low to i32",
    "%high_wide = zext i16 %high to i32",
    "%high_up = shl i32 %high_wide, 16",
    "%both = or i32 %low_wide, %high_up",
    *_widened("%both"),
]


def _pairs(verb: str, bits: int, body: list[str], first: str, second: str) -> str:
    on = f"i{bits}, ptr %from, i32 %advance"
    return _loop(f"kp_{verb}{bits}", _TWO, [*body, *_stored(first, second)], "a", on, 2)


def _three(bits: int) -> str:
    body: list[str] = []
    for c in range(3):
        body += [
            f"%at{c} = mul i32 %column, {c}",
            f"%low{c}_at = getelementptr i{bits}, ptr %from, i32 %at{c}",
            f"%high{c}_at = getelementptr i{bits}, ptr %low{c}_at, i32 %depth",
            f"%low{c}_narrow = load i{bits}, ptr %low{c}_at",
            f"%high{c}_narrow = load i{bits}, ptr %high{c}_at",
            f"%low{c} = sext i{bits} %low{c}_narrow to i32",
            f"%high{c} = sext i{bits} %high{c}_narrow to i32",
            *_joined(f"pair{c}", f"%low{c}", f"%high{c}"),
            f"%to{c} = getelementptr i32, ptr %to, i32 {c}",
            f"store i32 %pair{c}, ptr %to{c}",
        ]
    parameters = "ptr %pairs, ptr %a, i32 %column, i32 %depth, i32 %advance, i32 %count"
    return _loop(
        f"kp_adjoin3x{bits}", parameters, body, "a", f"i{bits}, ptr %from, i32 %advance", 3
    )


_HALVES = [*_joined("lower", "%low", "%high"), *_high_joined("upper", "%low", "%high")]
_EXCHANGED = [*_joined("lower", "%even", "%odd"), *_high_joined("upper", "%even", "%odd")]

UNPACKING = {
    **{f"kp_adjoin3x{bits}": _three(bits) for bits in (8, 16)},
    "kp_interleave8": _pairs("interleave", 8, _BOTH, "%even", "%odd"),
    "kp_interleave16": _pairs("interleave", 16, [*_loaded(16), *_HALVES], "%lower", "%upper"),
    "kp_adjoin8": _pairs("adjoin", 8, [*_BOTH, *_EXCHANGED], "%lower", "%upper"),
    "kp_adjoin16": _pairs("adjoin", 16, _loaded(16), "%low", "%high"),
    "kp_widen": _loop(
        "kp_widen",
        "ptr %pairs, ptr %words, i32 %count",
        ["%word = load i32, ptr %from", *_widened("%word"), *_stored("%even", "%odd")],
        "words",
        "i32, ptr %from, i32 1",
        2,
    ),
}
