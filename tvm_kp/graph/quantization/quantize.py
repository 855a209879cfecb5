"""Rewrite a module of floats to integers: 8-bit weights, activations of 8 or 16 bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tvm
from tvm import relax

from tvm_kp import fixedpoint
from tvm_kp.graph import scan
from tvm_kp.graph.calibrate import Ranges, Record
from tvm_kp.graph.quantization.formats import Format
from tvm_kp.graph.quantization.plan import Plan, Quantization, plan
from tvm_kp.graph.quantization.rewriter import Rewriter, StoredTensor, Value, in_format, is_float
from tvm_kp.graph.quantization.values import Quantized
from tvm_kp.graph.rewrite import returned, values


@dataclass(frozen=True)
class QuantizedModule:
    """The module, and the scales of its inputs and outputs, None for floats.

    ``tensors`` maps the tensors of the float module that lie in memory to what they became;
    those ``in_steps`` are of time steps.
    """

    mod: tvm.IRModule
    inputs: tuple[float | None, ...]
    outputs: tuple[float | None, ...]
    tensors: Mapping[relax.Var, StoredTensor]
    in_steps: frozenset[relax.Var]

    def taken(self, record: Record) -> list[np.ndarray]:
        """Inputs of the float module as this one takes them."""
        params = self.mod["main"].params
        return [
            x if scale is None else _rounded(x, scale, str(param.ty.dtype.dtype))
            for x, scale, param in zip(record, self.inputs, params, strict=True)
        ]


def quantize(mod: tvm.IRModule, ranges: Ranges, how: Quantization) -> QuantizedModule:
    """``mod``, whose tensors have ``ranges``, in integers; it must be arranged.

    Raises ``ModelError`` for an operator without an integer form.
    """
    return _Quantizing(mod, plan(mod, ranges, how)).result()


class _Quantizing:
    def __init__(self, mod: tvm.IRModule, chosen: Plan) -> None:
        self._mod, self._plan = mod, chosen
        self._module = relax.BlockBuilder(mod)
        self._steps: dict[tuple, tvm.ir.GlobalVar] = {}
        self._tensors: dict[relax.Var, StoredTensor] = {}

    def result(self) -> QuantizedModule:
        main = self._mod["main"]
        pairs = [self._input(param) for param in main.params]
        env = dict(zip(main.params, (value for _, value in pairs), strict=True))
        scales: list[float | None] = []

        def body(rewriter: Rewriter) -> list[relax.Expr]:
            outputs = [self._output(result, rewriter) for result in returned(main)]
            scales.extend(scale for _, scale in outputs)
            return [expr for expr, _ in outputs]

        function = self._function(main, [param for param, _ in pairs], env, body)
        self._module.update_func(self._mod.get_global_var("main"), function)
        mod = relax.transform.DeadCodeElimination(["main"])(self._module.get())
        inputs = tuple(x.scale if isinstance(x, Quantized) else None for _, x in pairs)
        in_steps = frozenset(self._tensors.keys() - set(values(main)))
        return QuantizedModule(mod, inputs, tuple(scales), self._tensors, in_steps)

    def _function(
        self,
        old: relax.Function,
        params: Sequence[relax.Var],
        env: dict[relax.Var, Value],
        results: Callable[[Rewriter], list[relax.Expr]],
    ) -> relax.Function:
        """``old`` in integers; ``results`` gives what it returns once all of it is emitted."""
        builder = relax.BlockBuilder()
        with builder.function("function", list(params), private=True):
            with builder.dataflow():
                rewriter = Rewriter(self._plan, builder, env, self._step, self._tensors)
                rewriter.run(old)
                result = builder.emit_output(relax.Tuple(results(rewriter)))
            builder.emit_func_output(result)
        function = builder.get()["function"]
        symbol = (old.attrs or {}).get("global_symbol")
        return function if symbol is None else function.with_attr("global_symbol", symbol)

    def _input(self, param: relax.Var) -> tuple[relax.Var, Value]:
        """A parameter of ``main``, float as it was or integers."""
        bits = self._plan.how.io_bits
        if bits is None or not is_float(param):
            new = relax.Var(param.name, param.ty)
            return new, new
        form = self._plan.format(param)
        new = relax.Var(param.name, relax.TensorType(param.ty.shape, f"int{bits}"))
        return new, Quantized(new, form.step, 1 << (form.bits - 1))

    def _output(self, result: relax.Expr, rewriter: Rewriter) -> tuple[relax.Expr, float | None]:
        """A result of ``main`` and its scale, None for floats."""
        bits = self._plan.how.io_bits
        if bits is None or not is_float(result):
            return rewriter.floats(result), None
        narrow = rewriter.narrow(result)
        return rewriter.cast(narrow, f"int{bits}"), narrow.scale

    def _step(
        self, call: scan.Scan, sequences: Sequence[Value]
    ) -> tuple[tvm.ir.GlobalVar, list[Format]]:
        """The step function in integers, for sequences of such types and scales."""
        step = self._mod[call.step]
        formats = [self._plan.format(result) for result in returned(step)]
        kinds = [(x.scale, x.dtype) if isinstance(x, Quantized) else None for x in sequences]
        key = (call.step.name_hint, *kinds)
        if key not in self._steps:
            params, env = [], dict[relax.Var, Value]()
            for param, x in zip(step.params, sequences, strict=False):
                dtype = x.dtype if isinstance(x, Quantized) else str(param.ty.dtype.dtype)
                new = relax.Var(param.name, relax.TensorType(param.ty.shape, dtype))
                params.append(new)
                env[param] = replace(x, expr=new) if isinstance(x, Quantized) else new
            for param in step.params[len(sequences) :]:
                form = self._plan.format(param)
                params.append(relax.Var(param.name, relax.TensorType(param.ty.shape, form.dtype)))
                env[param] = in_format(params[-1], form)

            def results(rewriter: Rewriter) -> list[relax.Expr]:
                return [rewriter.narrow(result).expr for result in returned(step)]

            function = self._function(step, params, env, results)
            self._steps[key] = self._module.add_func(function, call.step.name_hint)
        return self._steps[key], formats


def _rounded(x: np.ndarray, scale: float, dtype: str) -> np.ndarray:
    low, high = fixedpoint.limits(8 * np.dtype(dtype).itemsize)
    return np.clip(np.floor(x.astype(np.float64) / scale + 0.5), low, high).astype(dtype)
