"""C helpers of tanh and sigmoid: a table of cubics for one float, or a rational function, which
takes less flash and is that of four floats with MVE."""

from __future__ import annotations

from collections.abc import Collection

from tvm_kp.c.tanh_table import BYTES, cubics
from tvm_kp.optimization import SIZE

# tanh on [-7.9, 7.9] as x·P(x²)/Q(x²): the minimax coefficients, found by linear programming on
# 6,000 Chebyshev nodes (error 1.3e-7). Beyond 7.9 the argument is clamped, 1 - tanh(7.9) =
# 2.8e-7. With float32 rounding the largest error is 4.5e-7 absolute, half of it for sigmoid.
LIMIT = 7.9
P = (0.999999703, 0.129265902, 0.00295243855, 1.14523914e-05)
Q = (1.0, 0.462597632, 0.0238202456, 0.000238921158, 2.4684879e-07)

# 0x7EF311C7 - bits(q) are the bits of 1/q, 12 % off for any q > 0: the exponent changes its sign,
# and the rest is about linear.
_RECIPROCAL = 0x7EF311C7


def _horner(coefficients: tuple[float, ...]) -> str:
    text = f"{coefficients[-1]!r}f"
    for value in reversed(coefficients[:-1]):
        text = f"({text} * u + {value!r}f)"
    return text


def _numbers(scale: float, factor: float, offset: float) -> str:
    """Those of ``factor * tanh(scale * x) + offset``; powers of two change no rounding."""
    powers = [scale ** (2 * k) for k in range(len(Q))]
    # Of -x, which clamping leaves.
    p = [-factor * scale * a * b for a, b in zip(P, powers, strict=False)]
    q = [a * b for a, b in zip(Q, powers, strict=True)]
    return ", ".join(f"{n!r}f" for n in (LIMIT / scale, *reversed(p), *reversed(q), offset))


def _rational_x4() -> str:
    newton = ["vdup.32 %q[e], r4", "vfms.f32 %q[e], %q[q], %q[u]"]
    newton += ["vfma.f32 %q[e], %q[e], %q[e]", "vfma.f32 %q[u], %q[u], %q[e]"]
    # What is greater is false for NaN; what is less is not.
    clamped = ["vpt.f32 gt, %q[x], r0", "vdupt.32 %q[x], r0"]
    lines = [
        "ldmia %[next]!, {r0, r1, r2, r3, r4}",
        *(*clamped, "vneg.f32 %q[x], %q[x]", *clamped),
        *("vmul.f32 %q[u], %q[x], %q[x]", "vdup.32 %q[p], r1"),
        *(f"vfmas.f32 %q[p], %q[u], r{k}" for k in (2, 3, 4)),
        *("vmul.f32 %q[x], %q[x], %q[p]", "ldmia %[next], {r0, r1, r2, r3, r4, r5}"),
        "vdup.32 %q[q], r0",
        *(f"vfmas.f32 %q[q], %q[u], r{k}" for k in (1, 2, 3, 4)),
        *("vmvn %q[u], %q[q]", "vadd.i32 %q[u], %q[u], %[magic]", *newton, *newton),
        "vfmas.f32 %q[x], %q[u], r5",
    ]
    text = "\n".join(f'      "{line}\\n\\t"' for line in lines)
    # The numbers are no operand, for which GCC finds no register at -O0: they are constants.
    return f"""\
// -x * P(x * x) / Q(x * x) + offset, x within limits; NaN stays NaN. MVE has no division: two steps
// of third order make 1/Q of an estimate that is 12 % off.
static inline float32x4_t kp_rational_x4(const float *numbers, float32x4_t x) {{
  register const float *next __asm__("r12") = numbers;
  register int32_t magic __asm__("r6") = {_RECIPROCAL + 1:#x};
  float32x4_t u, p, q, e;
  __asm__(
{text}
      : [x] "+w"(x), [u] "=&w"(u), [p] "=&w"(p), [q] "=&w"(q), [e] "=&w"(e), [next] "+r"(next)
      : [magic] "r"(magic)
      : "r0", "r1", "r2", "r3", "r4", "r5", "cc");
  return x;
}}
"""


def _of_four(name: str, about: str, numbers: str) -> str:
    return f"""\
// {about} of four numbers, off as for one.
static inline float32x4_t {name}(float32x4_t x) {{
  static const float numbers[] = {{{numbers}}};
  return kp_rational_x4(numbers, x);
}}
"""


def is_rational(used: Collection[str], optimize: str) -> bool:
    """Whether tanh of one float is the rational function."""
    return optimize == SIZE or "kp_rational_x4" in used


def table_bytes(used: Collection[str], optimize: str) -> int:
    """Bytes of the table that the helpers in ``used`` need."""
    return BYTES if "kp_tanhf" in used and not is_rational(used, optimize) else 0


def of_cubics(section: str) -> str:
    """The C of tanh by a table, which lies in ``section``."""
    rows = "\n".join(f"  {{{', '.join(f'{value}f' for value in row)}}}," for row in cubics())
    return f"""\
// Of every eighth from -8 on the cubic in x that is tanh(x), lowest power first.
static const float kp_tanh_cubics[][4] __attribute__((section("{section}"))) = {{
{rows}
}};

// tanh(x), at most 5e-7 off; NaN stays NaN.
static inline float kp_tanhf(float x) {{
#if defined(__ARM_FP)
  // The conversion saturates, and makes 0 of NaN.
  float scaled = x + 8.0f;
  uint32_t eighth;
  __asm__("vcvt.u32.f32 %0, %0, #3" : "+t"(scaled));
  __builtin_memcpy(&eighth, &scaled, sizeof eighth);
#else
  const uint32_t eighth = __builtin_fabsf(x) < 8.0f ? (uint32_t)((x + 8.0f) * 8.0f) : 0;
#endif
  if (eighth - 1 > {len(cubics()) - 2}) {{
    return x != x ? x : __builtin_copysignf(1.0f, x);
  }}
  const float *const cubic = kp_tanh_cubics[eighth];
#if defined(__ARM_FP)
  register float c0 __asm__("s16"), c1 __asm__("s17"), c2 __asm__("s18"), c3 __asm__("s19");
  __asm__("vldmia %4, {{s16-s19}}"
          : "=t"(c0), "=t"(c1), "=t"(c2), "=t"(c3)
          : "r"(cubic), "m"(*(const float (*)[4])cubic));
#else
  const float c0 = cubic[0], c1 = cubic[1], c2 = cubic[2], c3 = cubic[3];
#endif
  return ((c3 * x + c2) * x + c1) * x + c0;
}}
"""


HELPERS = {
    "kp_tanhf": f"""\
// tanh(x), at most 5e-7 off, by a rational function; NaN stays NaN.
static inline float kp_tanhf(float x) {{
  if (__builtin_fabsf(x) > {LIMIT}f) {{
    x = __builtin_copysignf({LIMIT}f, x);
  }}
  const float u = x * x;
  const float p = {_horner(P)};
  const float q = {_horner(Q)};
  return x * p / q;
}}
""",
    "kp_sigmoidf": """\
// 1 / (1 + exp(-x)) = 1/2 + tanh(x/2)/2, at most 2.5e-7 off.
static inline float kp_sigmoidf(float x) {
  return 0.5f + 0.5f * kp_tanhf(0.5f * x);
}
""",
    "kp_rational_x4": _rational_x4(),
    "kp_tanhf_x4": _of_four("kp_tanhf_x4", "tanh", _numbers(1.0, 1.0, 0.0)),
    "kp_sigmoidf_x4": _of_four("kp_sigmoidf_x4", "1 / (1 + exp(-x))", _numbers(0.5, 0.5, 0.5)),
}

_RATIONAL = ("kp_vectors", "kp_rational_x4")
NEEDS = {
    "kp_sigmoidf": ("kp_tanhf",),
    "kp_rational_x4": ("kp_vectors",),
    "kp_tanhf_x4": _RATIONAL,
    "kp_sigmoidf_x4": _RATIONAL,
}
