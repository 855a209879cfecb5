"""LLVM's text of the helpers of integer arithmetic: what ``integer_helpers`` has in C.

LLVM makes SSAT of minima and maxima by itself.
"""

from __future__ import annotations

from collections.abc import Collection

from tvm_kp.c.llvm.products import product_text
from tvm_kp.c.llvm.unpacking import UNPACKING

# With DSP this is SMMULR.
_MULTIPLY_HIGH = """\
define i32 @kp_multiply_high(i32 %a, i32 %b) {
  %wide_a = sext i32 %a to i64
  %wide_b = sext i32 %b to i64
  %product = mul nsw i64 %wide_a, %wide_b
  %rounded = add nsw i64 %product, 2147483648
  %high = lshr i64 %rounded, 32
  %result = trunc i64 %high to i32
  ret i32 %result
}"""

_START = """\
define i32 @kp_interpolate(ptr %pair, i32 %x, i32 %between, i32 %offset, i32 %shift) {
  %width = shl i32 1, %between
  %mask = sub i32 %width, 1
  %rest = and i32 %x, %mask
"""

# Both entries are one word, and so are both weights: width - rest below, rest above.
_INTERPOLATE_DSP = f"""\
{_START}\
  %entries = load i32, ptr %pair, align 2
  %above = mul i32 %rest, 65535
  %weights = add i32 %above, %width
  %total = call i32 @llvm.arm.smlad(i32 %entries, i32 %weights, i32 %offset)
  %result = ashr i32 %total, %shift
  ret i32 %result
}}"""

_INTERPOLATE = f"""\
{_START}\
  %second = getelementptr i16, ptr %pair, i32 1
  %low = load i16, ptr %pair, align 2
  %high = load i16, ptr %second, align 2
  %left = sext i16 %low to i32
  %right = sext i16 %high to i32
  %from_right = sub i32 %width, %rest
  %one = mul i32 %left, %from_right
  %other = mul i32 %right, %rest
  %sum = add i32 %one, %other
  %total = add i32 %sum, %offset
  %result = ashr i32 %total, %shift
  ret i32 %result
}}"""


_DSP = """\
declare i32 @llvm.arm.smlad(i32, i32, i32)
declare i32 @llvm.arm.sxtb16(i32)"""

_DECLARED = """\
declare i32 @llvm.smin.i32(i32, i32)
declare i32 @llvm.smax.i32(i32, i32)
declare i32 @llvm.fshr.i32(i32, i32, i32)"""


def integer_text(used: Collection[str], dsp: bool) -> str:
    """Definitions of the helpers; those that need instructions of ``dsp`` where there are these.

    ``used`` are the helpers that are called.
    """
    if not dsp:
        return "\n".join([_DECLARED, _MULTIPLY_HIGH, _INTERPOLATE])
    products = (product_text(name) for name in sorted(used) if name.startswith("kp_product"))
    helpers = (_MULTIPLY_HIGH, _INTERPOLATE_DSP, *UNPACKING.values(), *products)
    return "\n".join([_DECLARED, _DSP, *helpers])
