"""C helpers that gather columns of activations, with MVE, for dot products."""

from __future__ import annotations


def _columns(bits: int, lanes: int) -> str:
    size, scaled = ("h", ", uxtw #1") if bits == 16 else ("b", "")
    load, store = f"q0, [%1, %q2{scaled}]", f"vstr{size}.16 q0, [%0], #{bits}"
    rest = f"vctp.16 %3\\n\\tvpst\\n\\tvldr{size}t.u16 {load}\\n\\t{store}"
    return f"""\
// Columns of depth numbers that are step apart become neighbors; zeros fill blocks of {lanes}.
static inline __attribute__((always_inline)) void
kp_columns{bits}x{lanes}(int{bits}_t *to, const int{bits}_t *from, int32_t step, int32_t depth,
    int32_t next, int32_t columns) {{
  const int32_t padded = (depth + {lanes - 1}) / {lanes} * {lanes};
#if defined(__ARM_FEATURE_MVE)
  typedef uint16_t vector __attribute__((vector_size(16)));
  vector places = {{0, 1, 2, 3, 4, 5, 6, 7}};
  __asm__("vmul.i16 %q0, %q0, %1" : "+w"(places) : "r"(step));
  for (; columns > 0; --columns) {{
    const int{bits}_t *source = from;
    for (int32_t k = depth; k >= 8; k -= 8) {{
      __asm__ volatile("vldr{size}.u16 {load}\\n\\t{store}"
          : "+l"(to) : "r"(source), "w"(places) : "q0", "memory");
      source += 8 * step;
    }}
    if (depth % 8 > 0) {{
      __asm__ volatile("{rest}"
          : "+l"(to) : "r"(source), "w"(places), "r"(depth % 8) : "q0", "memory");
    }}
    if (padded - depth >= 8) {{
      __asm__ volatile("vmov.i32 q0, #0\\n\\t{store}" : "+l"(to) : : "q0", "memory");
    }}
    from += next;
  }}
#else
  for (; columns > 0; --columns) {{
    for (int32_t k = 0; k < padded; ++k) {{
      *to++ = (int{bits}_t)(k < depth ? from[k * step] : 0);
    }}
    from += next;
  }}
#endif
}}
"""


COLUMNS = {
    f"kp_columns{bits}x{lanes}": _columns(bits, lanes) for bits, lanes in ((16, 8), (8, 8), (8, 16))
}
