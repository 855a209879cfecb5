"""A loop over four neighboring elements -> C of MVE intrinsics: an int32 or a float for each."""

from __future__ import annotations

from functools import singledispatchmethod

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, TensorLoad, Var
from tvm.ir.prim.expr import BitwiseAnd, RShift
from tvm.sym import Analyzer
from tvm.tirx import IntImm

from tvm_kp.c.expressions import Expressions, saturated_bits

LANES = 4

# With an operand that is the same for all elements it is a number in a register.
_ARITHMETIC = {tirx.Add: "vaddq", tirx.Sub: "vsubq", tirx.Mul: "vmulq"}
_OTHER = {tirx.Max: "vmaxq_s32", tirx.Min: "vminq_s32", BitwiseAnd: "vandq_s32"}
_SIZES = {"int8": "b", "int16": "h", "int32": "w"}
_FUNCTIONS = {"tirx.tanh": "kp_tanhf_x4", "tirx.sigmoid": "kp_sigmoidf_x4"}


class Vectors:
    """Prints expressions in which the variable ``lane`` of a loop is all its values at once.

    What does not depend on it is printed by ``scalar``; buffers in ``scalars`` are vectors here.
    ``schedules/pointwise_mve.py`` and ``pointwise_float_mve.py`` make such loops of the operators
    that are known here only. Of floats there may be ``count``, fewer than a vector has.
    """

    def __init__(self, scalar: Expressions, lane: Var, count: int = LANES) -> None:
        self.helpers = scalar.helpers
        self.libm = scalar.libm
        self.scalars: set[Var] = set()
        self._scalar = scalar
        self._lane = lane
        self._count = count
        self.helpers.add("kp_vectors")

    def c_type(self, dtype: str) -> str:
        return "float32x4_t" if dtype == "float32" else "int32x4_t"

    def store(self, buffer: Var, index: Expr, value: Expr) -> str:
        """A statement that stores ``value``; a store to memory takes the low bits."""
        if buffer in self.scalars:
            return f"{self._scalar.names[buffer]} = {self._vector(value)}"
        dtype = str(buffer.dtype)
        if dtype == "float32":
            return self._moved("store", self._address(buffer, index), self._vector(value))
        if isinstance(value, tirx.Cast):
            bits = saturated_bits(value.value)
            if bits in (8, 16) and dtype == f"int{bits}":
                text = self._helper(f"kp_narrow{bits}_x4", self._vector(value.value.a.a))
                return f"vstr{_SIZES[dtype]}q_s32({self._address(buffer, index)}, {text})"
            value = value.value
        return f"vstr{_SIZES[dtype]}q_s32({self._address(buffer, index)}, {self._vector(value)})"

    @singledispatchmethod
    def text(self, expr: Expr) -> str:
        """``expr``, which depends on the lane, as a vector."""
        first, second = self._vector(expr.a), self._vector(expr.b)
        if _kind(expr) == "f32":
            return self._helper("kp_minf_x4", first, second)
        return f"{_OTHER[type(expr)]}({first}, {second})"

    @text.register
    def _(self, expr: TensorLoad) -> str:
        if expr.source in self.scalars:
            return self._scalar.names[expr.source]
        dtype = str(expr.ty.dtype)
        if dtype == "float32":
            return self._moved("load", self._address(expr.source, expr.indices[0]))
        return f"vldr{_SIZES[dtype]}q_s32({self._address(expr.source, expr.indices[0])})"

    @text.register
    def _(self, expr: tirx.Cast) -> str:
        text, dtype = self.text(expr.value), str(expr.ty.dtype)
        if _fits(expr.value, dtype):
            return text
        if dtype == "int8":
            text = f"vmovlbq_s8(vreinterpretq_s8_s32({text}))"
            return f"vmovlbq_s16({text})"
        return f"vmovlbq_s16(vreinterpretq_s16_s32({text}))"

    @text.register(tirx.Add)
    @text.register(tirx.Sub)
    @text.register(tirx.Mul)
    def _(self, expr: tirx.Add | tirx.Sub | tirx.Mul) -> str:
        a, b = expr.a, expr.b
        if not self._varies(a) and not isinstance(expr, tirx.Sub):
            a, b = b, a
        name, kind = _ARITHMETIC[type(expr)], _kind(expr)
        if self._varies(b):
            return f"{name}_{kind}({self._vector(a)}, {self.text(b)})"
        return f"{name}_n_{kind}({self.text(a)}, {self._scalar.text(b)})"

    @text.register
    def _(self, expr: RShift) -> str:
        return f"vshrq_n_s32({self.text(expr.a)}, {int(expr.b)})"

    @text.register
    def _(self, expr: tirx.Max) -> str:
        if _kind(expr) == "f32":
            return self._helper("kp_maxf_x4", self._vector(expr.a), self._vector(expr.b))
        bits = saturated_bits(expr)
        if bits in (8, 16):
            return self._helper(f"kp_saturate{bits}_x4", self._vector(expr.a.a))
        return f"vmaxq_s32({self._vector(expr.a)}, {self._vector(expr.b)})"

    @text.register
    def _(self, expr: Call) -> str:
        if expr.op.name in _FUNCTIONS:
            return self._helper(_FUNCTIONS[expr.op.name], self.text(expr.args[0]))
        if expr.op.name == "tirx.kp_interpolate":
            entry, _, x, *numbers = expr.args
            texts = map(self._scalar.text, numbers)
            middle = self._scalar.middles[entry.source]
            return self._helper("kp_interpolate_x4", middle, self.text(x), *texts)
        a, b = expr.args  # kp_multiply_high
        exponent = int(b).bit_length() - 1 if isinstance(b, IntImm) else 0
        if exponent > 0 and int(b) == 1 << exponent:
            return f"vrshrq_n_s32({self.text(a)}, {32 - exponent})"
        return f"vrmulhq_s32({self._vector(a)}, {self._vector(b)})"

    def _vector(self, expr: Expr) -> str:
        if self._varies(expr):
            return self.text(expr)
        return f"vdupq_n_{_kind(expr)}({self._scalar.text(expr)})"

    def _varies(self, expr: Expr) -> bool:
        """Whether ``expr`` may differ from lane to lane."""
        found: list[bool] = []

        def note(value: Var) -> None:
            found.append(value.same_as(self._lane) or value in self.scalars)

        tvm_ffi.structural_walk(expr, (Var, note))
        return any(found)

    def _address(self, buffer: Var, index: Expr) -> str:
        """Where the first lane is; the others follow it."""
        first = tvm_ffi.structural_map(
            index, (Var, lambda var: tirx.const(0, "int32") if var.same_as(self._lane) else var)
        )
        simplify = Analyzer().simplify
        assert simplify(index - first - self._lane) == 0, f"lanes apart: {index}"
        return f"&{self._scalar.element(buffer, simplify(first))}"

    def _moved(self, verb: str, *args: str) -> str:
        """A load or store of floats."""
        if self._count < LANES:
            return self._helper(f"kp_{verb}f_x4", *args, str(self._count))
        return f"{'vldrwq' if verb == 'load' else 'vstrwq'}_f32({', '.join(args)})"

    def _helper(self, name: str, *args: str) -> str:
        self.helpers.add(name)
        return f"{name}({', '.join(args)})"


def is_vector(loop: tirx.For) -> bool:
    """Whether a loop over lanes is printed as vectors: what is left of one of integers is not."""
    stored: list[str] = []
    tvm_ffi.structural_walk(
        loop.body, (tirx.BufferStore, lambda store: stored.append(str(store.buffer.dtype)))
    )
    return int(loop.extent) == LANES or set(stored) == {"float32"}


def _kind(expr: Expr) -> str:
    """What intrinsics call the elements of a vector."""
    return "f32" if str(expr.ty.dtype) == "float32" else "s32"


def _fits(value: Expr, dtype: str) -> bool:
    """Whether a cast of ``value`` to ``dtype`` changes no element."""
    if isinstance(value, Call) and value.op.name == "tirx.kp_interpolate":
        return dtype != "int8"
    sizes = (int(name.removeprefix("int")) for name in (str(value.ty.dtype), dtype))
    before, after = sizes
    return min(before, saturated_bits(value) or before) <= after
