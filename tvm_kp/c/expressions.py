"""TIR expressions -> C."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatchmethod

import numpy as np
from tvm import tirx
from tvm.ir import Call, Expr, StringImm, TensorLoad, Var
from tvm.ir.prim.expr import BitwiseAnd, RShift
from tvm.sym import Analyzer
from tvm.tirx import FloatImm, IntImm

from tvm_kp.c.support import is_helper
from tvm_kp.errors import ModelError


class _Types(dict[str, str]):
    """A type that has no C here is the model's fault, not ours."""

    def __missing__(self, dtype: str) -> str:
        raise ModelError(
            f"the model computes in {dtype}, for which there is no C here; there is C for "
            f"{', '.join(self)}: use model.float()"
        )


C_TYPES = _Types(
    {
        "float32": "float",
        "float64": "double",
        "int8": "int8_t",
        "int16": "int16_t",
        "int32": "int32_t",
        "int64": "int64_t",
        "uint8": "uint8_t",
        "uint16": "uint16_t",
        "uint32": "uint32_t",
        "uint64": "uint64_t",
        "bool": "_Bool",
    }
)
MATH_CONSTANTS = ("NAN", "INFINITY")  # of <math.h>, in literals

# TIR intrinsic -> function of libm for float32, or one of our helpers.
MATH = {
    "exp": "expf",
    "exp2": "exp2f",
    "log": "logf",
    "log2": "log2f",
    "log10": "log10f",
    "log1p": "log1pf",
    "sqrt": "sqrtf",
    "pow": "powf",
    "fabs": "fabsf",
    "floor": "floorf",
    "ceil": "ceilf",
    "trunc": "truncf",
    "round": "roundf",
    "nearbyint": "nearbyintf",
    "erf": "erff",
    "sin": "sinf",
    "cos": "cosf",
    "tan": "tanf",
    "atan": "atanf",
    "fmod": "fmodf",
    "tanh": "kp_tanhf",
    "sigmoid": "kp_sigmoidf",
}

_BINARY = {
    tirx.Add: "+",
    tirx.Sub: "-",
    tirx.Mul: "*",
    tirx.Div: "/",
    tirx.LT: "<",
    tirx.LE: "<=",
    tirx.GT: ">",
    tirx.GE: ">=",
    tirx.EQ: "==",
    tirx.NE: "!=",
    tirx.And: "&&",
    tirx.Or: "||",
    RShift: ">>",
    BitwiseAnd: "&",
}
_ASSOCIATIVE = (tirx.Add, tirx.Mul, tirx.And, tirx.Or)


class Expressions:
    """Prints expressions; ``names`` maps variables and buffers to C identifiers.

    ``middles`` maps tables to pointers to where they are 0.
    ``helpers`` collects the helpers and ``libm`` the libm functions that were called; buffers
    in ``scalars`` are variables, not arrays.
    """

    def __init__(
        self, names: Mapping[Var, str], ranges: Analyzer, middles: Mapping[Var, str]
    ) -> None:
        self.names = names
        self.middles = middles
        self.helpers: set[str] = set()
        self.libm: set[str] = set()
        self.scalars: set[Var] = set()
        self._ranges = ranges

    @singledispatchmethod
    def text(self, expr: Expr) -> str:
        """``expr`` in C; raises ``ModelError`` for what has no C here."""
        if type(expr) in _BINARY:
            return self._binary(expr)
        raise ModelError(f"the operation {type(expr).__name__} cannot be written in C: {expr}")

    @text.register
    def _(self, expr: Var) -> str:
        return self.names[expr]

    @text.register
    def _(self, expr: IntImm) -> str:
        value, dtype = int(expr.value), str(expr.ty.dtype)
        if dtype == "int64" and not -(2**31) < value < 2**31:
            return f"INT64_C({value})"
        return f"({value})" if value < 0 else str(value)

    @text.register
    def _(self, expr: FloatImm) -> str:
        return float_literal(float(expr.value), str(expr.ty.dtype))

    @text.register
    def _(self, expr: StringImm) -> str:
        return expr.value

    @text.register
    def _(self, expr: TensorLoad) -> str:
        return self.element(expr.source, expr.indices[0])

    @text.register
    def _(self, expr: tirx.Cast) -> str:
        return f"({C_TYPES[str(expr.ty.dtype)]})({self.text(expr.value)})"

    @text.register
    def _(self, expr: tirx.Select) -> str:
        return self._choice(expr.condition, expr.true_value, expr.false_value)

    @text.register
    def _(self, expr: tirx.Not) -> str:
        return f"!({self.text(expr.a)})"

    @text.register(tirx.Max)
    @text.register(tirx.Min)
    def _(self, expr: tirx.Max | tirx.Min) -> str:
        bits = saturated_bits(expr)
        if bits is not None:
            return self._helper(f"kp_saturate{bits}", self.text(expr.a.a))
        # The comparison that PyTorch makes for relu and max pooling: a NaN in a goes through.
        a, b = self.text(expr.a), self.text(expr.b)
        return f"({a} {'<' if isinstance(expr, tirx.Max) else '>'} {b} ? {b} : {a})"

    @text.register(tirx.FloorDiv)
    @text.register(tirx.FloorMod)
    def _(self, expr: tirx.FloorDiv | tirx.FloorMod) -> str:
        a, b = self._atom(expr.a), self._atom(expr.b)
        floordiv = "kp_floordiv64" if str(expr.ty.dtype) == "int64" else "kp_floordiv"
        plain = self._ranges.can_prove(expr.a >= 0) and self._ranges.can_prove(expr.b > 0)
        if isinstance(expr, tirx.FloorDiv):
            return f"({a} / {b})" if plain else self._helper(floordiv, a, b)
        if plain:
            return f"({a} % {b})"
        return f"({a} - {self._helper(floordiv, a, b)} * {b})"

    @text.register
    def _(self, expr: Call) -> str:
        name = expr.op.name.split(".", 1)[1]
        if name in ("if_then_else",):
            return self._choice(*expr.args)
        if name == "likely":
            return self.text(expr.args[0])
        if name == "address_of":
            return f"&{self.text(expr.args[0])}"
        if name in ("call_extern", "call_pure_extern"):
            return self._extern(expr)
        if name == "kp_multiply_high":
            return self._helper(name, *(self.text(arg) for arg in expr.args))
        if name == "kp_interpolate":
            # The helper finds both entries by itself.
            entry, _, *numbers = expr.args
            return self._helper(name, self.middles[entry.source], *map(self.text, numbers))
        if name == "rsqrt":
            return f"(1.0f / {self._math('sqrtf', self.text(expr.args[0]))})"
        if name in MATH and str(expr.ty.dtype) == "float32":
            return self._math(MATH[name], *(self.text(arg) for arg in expr.args))
        raise ModelError(f"the intrinsic {name} on {expr.ty.dtype} cannot be written in C")

    def c_type(self, dtype: str) -> str:
        """The type of a variable."""
        return C_TYPES[dtype]

    def store(self, buffer: Var, index: Expr, value: Expr) -> str:
        """An assignment to one element of a buffer."""
        return f"{self.element(buffer, index)} = {self.text(value)}"

    def element(self, buffer: Var, index: Expr) -> str:
        """One element of a buffer."""
        name = self.names[buffer]
        return name if buffer in self.scalars else f"{name}[{self.text(index)}]"

    def _atom(self, operand: Expr) -> str:
        """An operand that any operator may stand beside."""
        text = self.text(operand)
        return f"({text})" if type(operand) in _BINARY else text

    def _binary(self, expr: Expr) -> str:
        left = self._operand(expr.a, expr, left=True)
        return f"{left} {_BINARY[type(expr)]} {self._operand(expr.b, expr, left=False)}"

    def _operand(self, operand: Expr, parent: Expr, left: bool) -> str:
        text = self.text(operand)
        if type(operand) not in _BINARY:
            return text
        sum_of_products = isinstance(parent, (tirx.Add, tirx.Sub)) and isinstance(operand, tirx.Mul)
        chain = left and type(operand) is type(parent) and isinstance(parent, _ASSOCIATIVE)
        return text if sum_of_products or chain else f"({text})"

    def _choice(self, condition: Expr, yes: Expr, no: Expr) -> str:
        return f"(({self.text(condition)}) ? {self.text(yes)} : {self.text(no)})"

    def _extern(self, expr: Call) -> str:
        name, *args = (self.text(arg) for arg in expr.args)
        if is_helper(name):
            self.helpers.add(name)
        return f"{name}({', '.join(args)})"

    def _math(self, name: str, *args: str) -> str:
        if is_helper(name):
            return self._helper(name, *args)
        self.libm.add(name)
        return f"{name}({', '.join(args)})"

    def _helper(self, name: str, *args: str) -> str:
        self.helpers.add(name)
        return f"{name}({', '.join(args)})"


def float_literal(value: float, dtype: str = "float32") -> str:
    """The shortest C literal that reads back as the same number of type ``dtype``."""
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = str(np.dtype(dtype).type(value))
    text = text if any(mark in text for mark in ".e") else f"{text}.0"
    return f"{text}f" if dtype == "float32" else text


def saturated_bits(expr: Expr) -> int | None:
    """n where ``expr`` saturates int32 to n bits: ``max(min(x, 2**(n-1) - 1), -2**(n-1))``."""
    if not isinstance(expr, tirx.Max) or not isinstance(expr.a, tirx.Min):
        return None
    low, high = expr.b, expr.a.b
    if not isinstance(low, IntImm) or not isinstance(high, IntImm):
        return None
    bits = int(high.value).bit_length() + 1
    found = (int(low.value), int(high.value)) == (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return bits if found and str(expr.ty.dtype) == "int32" else None
