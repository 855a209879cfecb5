"""LLVM's text of the helpers of float arithmetic: what ``support`` has in C."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tvm_kp.c.support import TANH_LIMIT, TANH_P, TANH_Q


def _float(value: float) -> str:
    """A float32 as LLVM writes it: the bits of the double that is equal."""
    (single,) = struct.unpack("<f", struct.pack("<f", value))
    return f"0x{struct.unpack('<Q', struct.pack('<d', single))[0]:016X}"


def _horner(name: str, coefficients: tuple[float, ...]) -> Iterator[str]:
    """``%<name>0``, the polynomial of ``%u``."""
    last = len(coefficients) - 1
    total = _float(coefficients[-1])
    for power in reversed(range(last)):
        yield f"  %{name}{power}u = fmul contract float {total}, %u"
        number = _float(coefficients[power])
        yield f"  %{name}{power} = fadd contract float %{name}{power}u, {number}"
        total = f"%{name}{power}"


_TANH = f"""\
define float @kp_tanhf(float %x) {{
  %magnitude = call float @llvm.fabs.f32(float %x)
  %far = fcmp ogt float %magnitude, {_float(TANH_LIMIT)}
  br i1 %far, label %flat, label %steep, !prof !{{!"branch_weights", i32 1, i32 2000}}
flat:
  %limit = call float @llvm.copysign.f32(float {_float(TANH_LIMIT)}, float %x)
  br label %steep
steep:
  %y = phi float [ %limit, %flat ], [ %x, %0 ]
  %u = fmul contract float %y, %y
{chr(10).join(_horner("p", TANH_P))}
{chr(10).join(_horner("q", TANH_Q))}
  %yp = fmul contract float %y, %p0
  %result = fdiv contract float %yp, %q0
  ret float %result
}}
declare float @llvm.fabs.f32(float)
declare float @llvm.copysign.f32(float, float)"""

_SIGMOID = """\
define float @kp_sigmoidf(float %x) {
  %half = fmul contract float %x, 0.5
  %tanh = call float @kp_tanhf(float %half)
  %scaled = fmul contract float %tanh, 0.5
  %result = fadd contract float %scaled, 0.5
  ret float %result
}"""


def _move(verb: str, count: int) -> str:
    """A load- or store-multiple of ``count`` floats, as in ``support``."""
    names = [f"s{16 + k}" for k in range(count)]
    listed = f"{{{names[0]}-{names[-1]}}}"
    tuple_ = f"{{ {', '.join(['float'] * count)} }}"
    memory = f"ptr elementtype([{count} x float])"
    places = [
        f"  %to{k} = getelementptr float, ptr %{'target' if verb == 'load' else 'source'}, i32 {k}"
        for k in range(count)
    ]
    head = f"define i32 @kp_{verb}{count}(ptr %target, ptr %source) {{"
    if verb == "load":
        outputs = ",".join(f"={{{name}}}" for name in names)
        moved = [
            f'  %all = call {tuple_} asm "vldmia ${count}, {listed}", "{outputs},r,*m"'
            f"(ptr %source, {memory} %source) nounwind memory(argmem: read)",
            *(f"  %value{k} = extractvalue {tuple_} %all, {k}" for k in range(count)),
            *(f"  store float %value{k}, ptr %to{k}" for k in range(count)),
        ]
    else:
        inputs = ",".join(f"{{{name}}}" for name in names)
        values = ", ".join(f"float %value{k}" for k in range(count))
        moved = [
            *(f"  %value{k} = load float, ptr %to{k}" for k in range(count)),
            f'  call void asm "vstmia $1, {listed}", "=*m,r,{inputs}"'
            f"({memory} %target, ptr %target, {values}) nounwind memory(argmem: write)",
        ]
    return "\n".join([head, *places, *moved, "  ret i32 0", "}"])


_MOVES = [_move(verb, count) for verb in ("load", "store") for count in range(2, 9)]


def float_text(fpu: bool) -> str:
    """Definitions of the helpers, with the instructions of an ``fpu`` if there is one."""
    return "\n".join([_TANH, _SIGMOID, *(_MOVES if fpu else [])])
