"""C helpers on vectors of four int32 or floats, for cores with MVE."""

from __future__ import annotations

_VECTORS = """\
#include <arm_mve.h>

#if defined(__GNUC__) && !defined(__clang__)
// GCC would compute all that it can early, and save it until it is needed.
#pragma GCC optimize("no-schedule-insns")
#endif
"""

_NARROW16 = """\
// The nearest int16 in the low half of every element; nothing is said of the other half.
static inline int32x4_t kp_narrow16_x4(int32x4_t x) {
  int32x4_t result;
  __asm__("vqmovnb.s32 %q0, %q1" : "=w"(result) : "w"(x));
  return result;
}
"""

_NARROW8 = """\
// The nearest int8 in the lowest byte of every element; nothing is said of the other bytes.
static inline int32x4_t kp_narrow8_x4(int32x4_t x) {
  int32x4_t result;
  __asm__("vqmovnb.s16 %q0, %q1" : "=w"(result) : "w"(kp_narrow16_x4(x)));
  return result;
}
"""

_SATURATE16 = """\
// The nearest int16.
static inline int32x4_t kp_saturate16_x4(int32x4_t x) {
  return vmovlbq_s16(vreinterpretq_s16_s32(kp_narrow16_x4(x)));
}
"""

_SATURATE8 = """\
// The nearest int8.
static inline int32x4_t kp_saturate8_x4(int32x4_t x) {
  return vmovlbq_s16(vmovlbq_s8(vreinterpretq_s8_s32(kp_narrow8_x4(x))));
}
"""

_INTERPOLATE = """\
// Linear between entries of a table that is 0 in its middle, at x / 2**between.
static inline int32x4_t kp_interpolate_x4(const int16_t *middle, int32x4_t x, int32_t between,
                                          int32_t offset, int32_t shift) {
  const int32_t width = (int32_t)1 << between;
  const uint32x4_t first = (uint32x4_t)(x >> between);
  const int32x4_t rest = vandq_s32(x, vdupq_n_s32(width - 1));
  const int32x4_t left = vldrhq_gather_shifted_offset_s32(middle, first);
  const int32x4_t right = vldrhq_gather_shifted_offset_s32(middle + 1, first);
  const int32x4_t between_them = vmulq_s32(vsubq_s32(right, left), rest);
  return vaddq_n_s32(vmlaq_n_s32(between_them, left, width), offset) >> shift;
}
"""


_LOAD = """\
// The first of four neighbors, as many as there are.
static inline float32x4_t kp_loadf_x4(const float *from, int32_t count) {
  float32x4_t result;
  __asm__("vctp.32 %2\\n\\tvpst\\n\\tvldrwt.u32 %q0, [%1]"
          : "=w"(result) : "r"(from), "r"(count) : "memory");
  return result;
}
"""

_STORE = """\
// The first of four neighbors, as many as there are.
static inline void kp_storef_x4(float *to, float32x4_t x, int32_t count) {
  __asm__ volatile("vctp.32 %2\\n\\tvpst\\n\\tvstrwt.32 %q1, [%0]"
                   : : "r"(to), "w"(x), "r"(count) : "memory");
}
"""


def _choice(name: str, sign: str) -> str:
    # What is greater is false for NaN, as in C; what is less is not. No compiler is told that other
    # assembly changes VPR, so none may keep anything there.
    greater = "%q2, %q1" if sign == "<" else "%q1, %q2"
    return f"""\
// a {sign} b ? b : a
static inline float32x4_t {name}(float32x4_t a, float32x4_t b) {{
  float32x4_t result;
  __asm__("vcmp.f32 gt, {greater}\\n\\tvpsel %q0, %q2, %q1" : "=w"(result) : "w"(a), "w"(b));
  return result;
}}
"""


HELPERS = {
    "kp_vectors": _VECTORS,
    "kp_narrow16_x4": _NARROW16,
    "kp_narrow8_x4": _NARROW8,
    "kp_saturate16_x4": _SATURATE16,
    "kp_saturate8_x4": _SATURATE8,
    "kp_interpolate_x4": _INTERPOLATE,
    "kp_loadf_x4": _LOAD,
    "kp_storef_x4": _STORE,
    "kp_maxf_x4": _choice("kp_maxf_x4", "<"),
    "kp_minf_x4": _choice("kp_minf_x4", ">"),
}

NEEDS = {
    "kp_narrow16_x4": ("kp_vectors",),
    "kp_narrow8_x4": ("kp_vectors", "kp_narrow16_x4"),
    "kp_saturate16_x4": ("kp_vectors", "kp_narrow16_x4"),
    "kp_saturate8_x4": ("kp_vectors", "kp_narrow16_x4", "kp_narrow8_x4"),
    "kp_interpolate_x4": ("kp_vectors",),
    "kp_loadf_x4": ("kp_vectors",),
    "kp_storef_x4": ("kp_vectors",),
    "kp_maxf_x4": ("kp_vectors",),
    "kp_minf_x4": ("kp_vectors",),
}
