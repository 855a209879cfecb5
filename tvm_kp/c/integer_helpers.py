"""C helpers of integer arithmetic: what ``fixedpoint`` computes, in few instructions."""

from __future__ import annotations


def _saturate(bits: int) -> str:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return f"""\
// The nearest integer of {bits} bits.
static inline int32_t kp_saturate{bits}(int32_t x) {{
#if defined(__ARM_FEATURE_SAT)
  int32_t result;
  __asm__("ssat %0, #{bits}, %1" : "=r"(result) : "r"(x));
  if (result < {low} || result > {high}) {{
    __builtin_unreachable();  // A cast to a narrow type costs nothing then.
  }}
  return result;
#else
  x = x < {high} ? x : {high};
  return x > {low} ? x : {low};
#endif
}}
"""


HELPERS = {
    **{f"kp_saturate{bits}": _saturate(bits) for bits in range(2, 32)},
    "kp_interpolate": """\
// Linear between entries of a table that is 0 in its middle, at x / 2**between.
static inline int32_t kp_interpolate(const int16_t *middle, int32_t x, int32_t between,
                                     int32_t offset, int32_t shift) {
  const int16_t *pair = middle + (x >> between);
  const int32_t width = (int32_t)1 << between;
  const int32_t rest = x & (width - 1);
#if defined(__ARM_FEATURE_DSP)
  // Both entries are one word, and so are both weights: width - rest below, rest above.
  uint32_t entries;
  int32_t weights, total;
  __builtin_memcpy(&entries, pair, sizeof entries);
  __asm__("mla %0, %1, %2, %3" : "=r"(weights) : "r"(rest), "r"(0xFFFF), "r"(width));
  __asm__("smlad %0, %1, %2, %3" : "=r"(total) : "r"(entries), "r"(weights), "r"(offset));
  return total >> shift;
#else
  return (pair[0] * (width - rest) + pair[1] * rest + offset) >> shift;
#endif
}
""",
}
