"""LLVM's text of the helpers of float arithmetic, with the formulas of ``tanh_helpers``."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator

import tvm_ffi
from tvm import tirx
from tvm.ir import Call

from tvm_kp.c.tanh_helpers import LIMIT, P, Q
from tvm_kp.c.tanh_table import BYTES, cubics

_ONE, _FOUR = "float", "<4 x float>"

# Beyond the limit is seldom.
_CLAMPED = """\
  %magnitude = call float @llvm.fabs.f32(float %x)
  %far = fcmp ogt float %magnitude, {0}
  br i1 %far, label %flat, label %steep, !prof !{{!"branch_weights", i32 1, i32 2000}}
flat:
  %limit = call float @llvm.copysign.f32(float {0}, float %x)
  br label %steep
steep:
  %y = phi float [ %limit, %flat ], [ %x, %0 ]"""
# Of a NaN it is false that it is above; that it is not below is what MVE does not say.
_CLAMPED_FOUR = """\
  %magnitude = call <4 x float> @llvm.fabs.v4f32(<4 x float> %x)
  %far = fcmp ogt <4 x float> %magnitude, {0}
  %limit = call <4 x float> @llvm.copysign.v4f32(<4 x float> {0}, <4 x float> %x)
  %y = select <4 x i1> %far, <4 x float> %limit, <4 x float> %x"""

_DECLARED = """\
declare <4 x float> @llvm.fabs.v4f32(<4 x float>)
declare <4 x float> @llvm.copysign.v4f32(<4 x float>, <4 x float>)
declare float @llvm.fabs.f32(float)
declare float @llvm.copysign.f32(float, float)"""


def _number(value: float, type_: str) -> str:
    """A float32 as LLVM writes it, the bits of the double that is equal; or four of them."""
    (single,) = struct.unpack("<f", struct.pack("<f", value))
    text = f"0x{struct.unpack('<Q', struct.pack('<d', single))[0]:016X}"
    return text if type_ == _ONE else f"splat (float {text})"


def _horner(name: str, coefficients: tuple[float, ...], type_: str) -> Iterator[str]:
    """``%<name>0``, the polynomial of ``%u``."""
    last = len(coefficients) - 1
    total = _number(coefficients[-1], type_)
    for power in reversed(range(last)):
        yield f"  %{name}{power}u = fmul contract {type_} {total}, %u"
        number = _number(coefficients[power], type_)
        yield f"  %{name}{power} = fadd contract {type_} %{name}{power}u, {number}"
        total = f"%{name}{power}"


def _tanh(name: str, type_: str, clamped: str) -> str:
    polynomials = [*_horner("p", P, type_), *_horner("q", Q, type_)]
    return "\n".join(
        [
            f"define {type_} @{name}({type_} %x) {{",
            clamped.format(_number(LIMIT, type_)),
            f"  %u = fmul contract {type_} %y, %y",
            *polynomials,
            f"  %yp = fmul contract {type_} %y, %p0",
            f"  %result = fdiv contract {type_} %yp, %q0",
            f"  ret {type_} %result",
            "}",
        ]
    )


def _sigmoid(name: str, type_: str, tanh: str) -> str:
    half = _number(0.5, type_)
    return f"""\
define {type_} @{name}({type_} %x) {{
  %half = fmul contract {type_} %x, {half}
  %tanh = call {type_} @{tanh}({type_} %half)
  %scaled = fmul contract {type_} %tanh, {half}
  %result = fadd contract {type_} %scaled, {half}
  ret {type_} %result
}}"""


def _tanh_of_cubics(section: str) -> str:
    """As ``tanh_helpers`` has it in C."""
    rows = ", ".join(
        f"[4 x float] [{', '.join(f'float {_number(value, _ONE)}' for value in row)}]"
        for row in cubics()
    )
    count, last = len(cubics()), len(cubics()) - 2
    powers = "\n".join(
        f"  %at{k} = getelementptr [4 x float], ptr %cubic, i32 0, i32 {k}\n"
        f"  %c{k} = load float, ptr %at{k}"
        for k in range(4)
    )
    return f"""\
declare i32 @llvm.fptoui.sat.i32.f32(float)
@kp_tanh_cubics = private constant [{count} x [4 x float]] [{rows}], section "{section}", align 4
define float @kp_tanhf(float %x) {{
  %shifted = fadd float %x, 8.0
  %scaled = fmul float %shifted, 8.0
  %eighth = call i32 @llvm.fptoui.sat.i32.f32(float %scaled)
  %before = sub i32 %eighth, 1
  %far = icmp ugt i32 %before, {last}
  br i1 %far, label %flat, label %steep, !prof !{{!"branch_weights", i32 1, i32 2000}}
flat:
  %nan = fcmp uno float %x, %x
  %one = call float @llvm.copysign.f32(float 1.0, float %x)
  %limit = select i1 %nan, float %x, float %one
  br label %end
steep:
  %cubic = getelementptr [{count} x [4 x float]], ptr @kp_tanh_cubics, i32 0, i32 %eighth
{powers}
  %p3 = fmul contract float %c3, %x
  %q2 = fadd contract float %p3, %c2
  %p2 = fmul contract float %q2, %x
  %q1 = fadd contract float %p2, %c1
  %p1 = fmul contract float %q1, %x
  %value = fadd contract float %p1, %c0
  br label %end
end:
  %result = phi float [ %limit, %flat ], [ %value, %steep ]
  ret float %result
}}"""


_SIGMOID = _sigmoid("kp_sigmoidf", _ONE, "kp_tanhf")
_RATIONAL = _tanh("kp_tanhf", _ONE, _CLAMPED)
_FUNCTIONS_FOUR = (
    _tanh("kp_tanhf_x4", _FOUR, _CLAMPED_FOUR),
    _sigmoid("kp_sigmoidf_x4", _FOUR, "kp_tanhf_x4"),
)


def table_bytes(operators: Iterable[tirx.PrimFunc], isa: Collection[str]) -> int:
    """Bytes of the table that ``operators`` need on a core with ``isa``."""
    found: list[str] = []
    for operator in operators:
        tvm_ffi.structural_walk(operator.body, (Call, lambda call: found.append(call.op.name)))
    return BYTES if {"tirx.tanh", "tirx.sigmoid"} & {*found} and not _has_vectors(isa) else 0


def float_text(isa: Collection[str], section: str) -> str:
    """Definitions of the helpers that a core with ``isa`` can have; tables lie in ``section``."""
    if _has_vectors(isa):
        return "\n".join([_DECLARED, _RATIONAL, _SIGMOID, *_FUNCTIONS_FOUR])
    return "\n".join([_DECLARED, _tanh_of_cubics(section), _SIGMOID])


def _has_vectors(isa: Collection[str]) -> bool:
    return "mve.fp" in isa
