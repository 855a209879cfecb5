"""One function of a module in integers, binding by binding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp import fixedpoint
from tvm_kp.errors import ModelError
from tvm_kp.graph import scan
from tvm_kp.graph.calibrate import Range
from tvm_kp.graph.quantization.formats import Format
from tvm_kp.graph.quantization.plan import Plan
from tvm_kp.graph.quantization.pointwise import POINTWISE
from tvm_kp.graph.quantization.storage import ACTIVATIONS, MOVES
from tvm_kp.graph.quantization.values import Arithmetic, Quantized
from tvm_kp.graph.rewrite import bindings, name_of, substitute

# What stands for a variable: Quantized, an expression of something else, or a tuple of these.
Value = Any
Step = Callable[[scan.Scan, Sequence[Value]], tuple[tvm.ir.GlobalVar, Sequence[Format]]]


@dataclass(frozen=True)
class StoredTensor:
    """What a float tensor became: integers in a format. ``harmless`` if saturating it is."""

    var: relax.Var
    form: Format
    range: Range
    harmless: bool


class Rewriter:
    """Emits bindings in integers; ``env`` maps the variables of the float function to values.

    ``step`` gives the step of a recurrence in integers, for sequences of such values, and the
    formats of its results. ``tensors`` receives what became of tensors that lie in memory.
    """

    def __init__(
        self,
        plan: Plan,
        builder: relax.BlockBuilder,
        env: dict[relax.Var, Value],
        step: Step,
        tensors: dict[relax.Var, StoredTensor],
    ) -> None:
        self._plan, self._to, self.env = plan, Arithmetic(builder), env
        self._step, self._tensors = step, tensors

    def run(self, function: relax.Function) -> None:
        """All bindings of ``function``."""
        products = self._plan.products
        with_bias = {product for product, _ in self._plan.storage.products.values()} - {*products}
        for binding in bindings(function):
            if binding.var not in with_bias:  # those are emitted with their bias
                self.env[binding.var] = self._value(binding.var, binding.value)
                self._note(binding)

    def narrow(self, tensor: relax.Expr) -> Quantized:
        """A tensor in its format."""
        form = self._plan.format(tensor)
        if isinstance(tensor, GenericConst):
            return in_format(relax.const(_integers(tensor.value.numpy(), form)), form)
        value = self.env[tensor]
        if isinstance(value, Quantized):
            return self._to.narrow(value, form)
        return self._to.quantize(value, form)

    def floats(self, tensor: relax.Expr) -> relax.Expr:
        """A tensor as the float function has it."""
        value = self.env.get(tensor, tensor)
        return self._to.dequantize(value) if isinstance(value, Quantized) else value

    def cast(self, x: Quantized, dtype: str) -> relax.Expr:
        """Integers in another type, which has room for them."""
        return x.expr if x.dtype == dtype else self._to.emit(relax.op.astype(x.expr, dtype))

    def _value(self, var: relax.Var, value: relax.Expr) -> Value:
        emit, name = self._to.emit, name_of(value)
        if isinstance(value, relax.Var):
            return self.env[value]
        if isinstance(value, relax.Tuple):
            return tuple(self.env.get(item, item) for item in value.fields)
        if isinstance(value, relax.TupleGetItem):
            fields = self.env[value.tuple_value]
            field = fields[value.index]
            return field if isinstance(fields, tuple) else emit(field)
        if (call := scan.match(value)) is not None:
            return self._scan(call)
        if var in self._plan.products:
            product = self._plan.products[var]
            return product.emit(self._to, self.narrow(product.x), self._plan.format(var))
        if name in MOVES:
            return self._move(value)
        if name == "relax.concat":
            return self._concat(var, value)
        if name == "relax.split":
            return self._split(value)
        if name in ACTIVATIONS:
            function = getattr(self._to, ACTIVATIONS[name])
            return self._stored(var, function(self.narrow(value.args[0])))
        if name in POINTWISE and is_float(var):
            args = [self._operand(arg) for arg in value.args if _is_tensor(arg)]
            return self._stored(var, POINTWISE[name](self._to, value, args))
        if name == "relax.nn.softmax" and int(value.attrs.axis) in (-1, len(var.ty.shape) - 1):
            return self._to.softmax(self.narrow(value.args[0]))
        if name in ("relax.argmax", "relax.argmin") and is_float(value.args[0]):
            x = self.narrow(value.args[0]).expr
            return emit(relax.Call(value.op, [x], value.attrs, value.ty_args))
        return self._other(var, value)

    def _scan(self, call: scan.Scan) -> Value:
        emit = self._to.emit
        sequences = [
            self.env[x] if isinstance(x, relax.Var) else self.narrow(x) for x in call.sequences
        ]
        step, formats = self._step(call, sequences)
        exprs = [x.expr if isinstance(x, Quantized) else x for x in sequences]
        states = [self.narrow(state).expr for state in call.states]
        result = emit(scan.scan(step, exprs, states, call.reverse, call.steps))
        return tuple(in_format(emit(result[k]), form) for k, form in enumerate(formats))

    def _move(self, call: relax.Call) -> Value:
        source, *others = call.args
        others = [self.env.get(arg, arg) if isinstance(arg, relax.Var) else arg for arg in others]
        constant = isinstance(source, GenericConst)
        value = self.env[source] if not constant else source
        if constant and is_float(source):
            value = self.narrow(source)
        x = value.expr if isinstance(value, Quantized) else value
        moved = self._to.emit(relax.Call(call.op, [x, *others], call.attrs, call.ty_args))
        return replace(value, expr=moved) if isinstance(value, Quantized) else moved

    def _concat(self, var: relax.Var, call: relax.Call) -> Value:
        parts = call.args[0]
        if not isinstance(parts, relax.Tuple):
            raise ModelError(f"{var.name} joins parts of a tuple that cannot be taken apart")
        if not is_float(var):
            return self._to.emit(substitute(call, self.env))
        narrow = [self.narrow(part).expr for part in parts.fields]
        joined = self._to.emit(relax.op.concat(narrow, axis=int(call.attrs.axis)))
        return in_format(joined, self._plan.format(var))

    def _split(self, call: relax.Call) -> Value:
        value, emit = self.env[call.args[0]], self._to.emit
        whole = value.expr if isinstance(value, Quantized) else value
        parts = emit(relax.Call(call.op, [whole], call.attrs, call.ty_args))
        fields = (emit(parts[k]) for k in range(len(parts.ty.fields)))
        if isinstance(value, Quantized):
            return tuple(replace(value, expr=field) for field in fields)
        return tuple(fields)

    def _other(self, var: relax.Var, value: relax.Expr) -> Value:
        """An operator without an integer form."""
        if not isinstance(value, relax.Call):
            return value
        read = [arg for arg in value.args if isinstance(arg, relax.Var)]
        floats = is_float(var) or any(isinstance(self.env[arg], Quantized) for arg in read)
        if floats and not self._plan.how.allow_float:
            raise ModelError(
                f"{var.name}: {name_of(value)} has no integer form; leave it to the code around "
                "the model, or compile with --allow-float, which runs it in float"
            )
        new: Mapping[relax.Expr, relax.Expr] = {arg: self.floats(arg) for arg in read}
        return self._to.emit(substitute(value, new))

    def _stored(self, var: relax.Var, value: Quantized) -> Quantized:
        """``value``, made narrow if it lies in memory."""
        kept = self._plan.storage[var].kept
        return self._to.narrow(value, self._plan.format(var)) if kept else value

    def _operand(self, arg: relax.Expr) -> Quantized:
        """What a point-wise operator reads."""
        if isinstance(arg, GenericConst):
            return self._to.constant(arg.value.numpy())
        value = self.env[arg]
        return value if isinstance(value, Quantized) else self.narrow(arg)

    def _note(self, binding: relax.VarBinding) -> None:
        """What a tensor became, if it was computed, not moved, and lies in memory."""
        var, name, value = binding.var, name_of(binding.value), self.env[binding.var]
        stored = self._plan.storage[var]
        moved = not name or name in {*MOVES, "relax.concat", "relax.split"}
        if stored.kept and isinstance(value, Quantized) and not moved:
            form, seen = self._plan.format(var), self._plan.ranges[stored]
            harmless = stored.readers <= {"sigmoid", "tanh"}
            self._tensors[var] = StoredTensor(value.expr, form, seen, harmless)


def in_format(expr: relax.Expr, form: Format) -> Quantized:
    return Quantized(expr, form.scale, form.bound)


def is_float(expr: relax.Expr) -> bool:
    return _is_tensor(expr) and str(expr.ty.dtype.dtype).startswith("float")


def _integers(array: np.ndarray, form: Format) -> np.ndarray:
    """Constant floats in a format."""
    rounded = np.floor(np.asarray(array, np.float64) / form.step + 0.5)
    return (np.clip(rounded, *fixedpoint.limits(form.bits)) * 2**form.shift).astype(form.dtype)


def _is_tensor(expr: relax.Expr) -> bool:
    return isinstance(expr.ty, relax.TensorType)
