"""LLVM's text of the helpers of float arithmetic: the rational functions of ``tanh_helpers``."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator

from tvm_kp.c.tanh_helpers import LIMIT, P, Q

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


_FUNCTIONS = (
    _DECLARED,
    _tanh("kp_tanhf", _ONE, _CLAMPED),
    _sigmoid("kp_sigmoidf", _ONE, "kp_tanhf"),
)
_FUNCTIONS_FOUR = (
    _tanh("kp_tanhf_x4", _FOUR, _CLAMPED_FOUR),
    _sigmoid("kp_sigmoidf_x4", _FOUR, "kp_tanhf_x4"),
)


def float_text(isa: Collection[str]) -> str:
    """Definitions of the helpers that a core with ``isa`` can have."""
    return "\n".join([*_FUNCTIONS, *(_FUNCTIONS_FOUR if "mve.fp" in isa else ())])
