"""C helpers that turn integers of a product into pairs of int16, for SMLAD."""

from __future__ import annotations

from collections.abc import Sequence

# What becomes of two neighbors each in ``low`` and in ``high``. GCC would make bit fields of the
# halves of a word; each of these is one instruction.
_WIDEN = """\
    const uint32_t both = low | (uint32_t)high << 16;
    uint32_t even, odd;
    __asm__("sxtb16 %0, %1" : "=r"(even) : "r"(both));
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(both));
"""
_EXCHANGE = """\
    uint32_t lower, upper;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(lower) : "r"({0}), "r"({1}));
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(upper) : "r"({1}), "r"({0}));
"""


def _pairs(verb: str, bits: int, assembly: str, words: Sequence[str]) -> str:
    """A helper that stores two pairs again and again, the ``words`` that ``assembly`` makes."""
    along = verb == "adjoin"
    places = ("0", "1", "step", "step + 1") if along else ("0", "step", "1", "step + 1")
    plain = "\n".join(f"    pairs[{k}] = a[{place}];" for k, place in enumerate(places))
    which = "Pairs (a0, a1) and (b0, b1)" if along else "Pairs (a0, b0) and (a1, b1)"
    return f"""\
// {which}, where b is a step behind a; then of what is behind.
static inline void kp_{verb}{bits}(int16_t *pairs, const int{bits}_t *a, int32_t step,
    int32_t advance, int32_t count) {{
#pragma GCC unroll 2
  for (int32_t k = 0; k < count; ++k) {{
#if defined(__ARM_FEATURE_DSP)
    uint{2 * bits}_t low, high;
    __builtin_memcpy(&low, a, sizeof low);
    __builtin_memcpy(&high, a + step, sizeof high);
{assembly}    __asm__("strd %2, %3, [%0], #8"
        : "+r"(pairs), "=m"(*(int16_t(*)[4])pairs) : "r"({words[0]}), "r"({words[1]}));
#else
{plain}
    pairs += 4;
#endif
    a += advance;
  }}
}}
"""


def _three(bits: int) -> str:
    """A helper that stores a pair of each of three columns again and again."""
    return f"""\
// Pairs of neighbors along the depth, one of each of three columns; then of what is behind.
static inline void kp_adjoin3x{bits}(int16_t *pairs, const int{bits}_t *a, int32_t column,
    int32_t depth, int32_t advance, int32_t count) {{
  for (int32_t k = 0; k < count; ++k) {{
    for (int32_t c = 0; c < 3; ++c) {{
      const int32_t low = a[c * column], high = a[c * column + depth];
#if defined(__ARM_FEATURE_DSP)
      uint32_t pair;
      __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(low), "r"(high));
      __builtin_memcpy(pairs + 2 * c, &pair, sizeof pair);
#else
      pairs[2 * c] = (int16_t)low;
      pairs[2 * c + 1] = (int16_t)high;
#endif
    }}
    a += advance;
    pairs += 6;
  }}
}}
"""


UNPACKING = {
    **{f"kp_adjoin3x{bits}": _three(bits) for bits in (8, 16)},
    "kp_interleave8": _pairs("interleave", 8, _WIDEN, ("even", "odd")),
    "kp_interleave16": _pairs(
        "interleave", 16, _EXCHANGE.format("low", "high"), ("lower", "upper")
    ),
    "kp_adjoin8": _pairs("adjoin", 8, _WIDEN + _EXCHANGE.format("even", "odd"), ("lower", "upper")),
    "kp_adjoin16": _pairs("adjoin", 16, "", ("low", "high")),
    "kp_widen": """\
// Words of two rows of int8 become pairs of int16, those of the first row in front.
static inline void kp_widen(int16_t *pairs, const int8_t *words, int32_t count) {
#if defined(__ARM_FEATURE_DSP)
  if (count % 2 == 1) {
    __asm__ volatile(
        "ldr r0, [%[words]], #4\\n\\tsxtb16 r1, r0\\n\\tsxtb16 r2, r0, ror #8\\n\\t"
        "strd r1, r2, [%[pairs]], #8"
        : [words] "+r"(words), [pairs] "+r"(pairs) : : "r0", "r1", "r2", "memory");
  }
#pragma GCC unroll 2
  for (int32_t k = 0; k < count / 2; ++k) {
    __asm__ volatile(
        "ldrd r0, r2, [%[words]], #8\\n\\tsxtb16 r1, r0, ror #8\\n\\tsxtb16 r0, r0\\n\\t"
        "sxtb16 r3, r2, ror #8\\n\\tsxtb16 r2, r2\\n\\tstmia %[pairs]!, {r0, r1, r2, r3}"
        : [words] "+r"(words), [pairs] "+r"(pairs) : : "r0", "r1", "r2", "r3", "memory");
  }
#else
  for (int32_t k = 0; k < 4 * count; ++k) {
    pairs[k] = words[k / 4 * 4 + k % 2 * 2 + k / 2 % 2];
  }
#endif
}
""",
}
