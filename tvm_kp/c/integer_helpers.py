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
    "kp_multiply_high": """\
// a * b / 2**32, rounded to the nearest integer, halves up.
static inline int32_t kp_multiply_high(int32_t a, int32_t b) {
#if defined(__ARM_FEATURE_DSP)
  int32_t result;
  __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
#elif defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
  // Products of halves: these cores have no long multiply. What is below bit 16 carries nothing.
  const int32_t a_high = a >> 16, b_high = b >> 16;
  const uint32_t a_low = (uint32_t)a & 0xFFFF, b_low = (uint32_t)b & 0xFFFF;
  const int32_t one = a_high * (int32_t)b_low, other = b_high * (int32_t)a_low;
  const uint32_t middle = (a_low * b_low >> 16) + ((uint32_t)one & 0xFFFF) +
                          ((uint32_t)other & 0xFFFF) + 0x8000;
  return a_high * b_high + (one >> 16) + (other >> 16) + (int32_t)(middle >> 16);
#else
  return (int32_t)(((int64_t)a * b + INT64_C(0x80000000)) >> 32);
#endif
}
""",
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
