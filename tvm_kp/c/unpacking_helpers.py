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
{assembly}    __builtin_memcpy(pairs, &{words[0]}, sizeof {words[0]});
    __builtin_memcpy(pairs + 2, &{words[1]}, sizeof {words[1]});
#else
{plain}
#endif
    a += advance;
    pairs += 4;
  }}
}}
"""


UNPACKING = {
    "kp_interleave8": _pairs("interleave", 8, _WIDEN, ("even", "odd")),
    "kp_interleave16": _pairs(
        "interleave", 16, _EXCHANGE.format("low", "high"), ("lower", "upper")
    ),
    "kp_adjoin8": _pairs("adjoin", 8, _WIDEN + _EXCHANGE.format("even", "odd"), ("lower", "upper")),
    "kp_adjoin16": _pairs("adjoin", 16, "", ("low", "high")),
    "kp_widen": """\
// Words of two rows of int8 become pairs of int16, those of the first row in front.
static inline void kp_widen(int16_t *pairs, const int8_t *words, int32_t count) {
  for (int32_t k = 0; k < count; ++k) {
#if defined(__ARM_FEATURE_DSP)
    uint32_t word, first, second;
    __builtin_memcpy(&word, words, sizeof word);
    __asm__("sxtb16 %0, %1" : "=r"(first) : "r"(word));
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(second) : "r"(word));
    __builtin_memcpy(pairs, &first, sizeof first);
    __builtin_memcpy(pairs + 2, &second, sizeof second);
#else
    for (int32_t i = 0; i < 4; ++i) {
      pairs[i] = words[i % 2 * 2 + i / 2];
    }
#endif
    words += 4;
    pairs += 4;
  }
}
""",
}
