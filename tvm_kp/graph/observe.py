"""Run a module on TVM's virtual machine and see all of its tensors, in every time step.

Time steps are calls from here, so building takes no longer for long sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx

from tvm_kp.graph import scan
from tvm_kp.graph.integer_operators import legalizations
from tvm_kp.graph.rewrite import bindings, returned, substitute, variables

_DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64")

Values = dict[relax.Var, Any]  # arrays, and lists of them for tuples
Observe = Callable[[Sequence[np.ndarray]], dict[relax.Var, np.ndarray]]


@dataclass
class _Part:
    """Bindings that are one function of the virtual machine, or one recurrence alone."""

    name: str
    bindings: list[relax.VarBinding] = field(default_factory=list)
    call: scan.Scan | None = None

    @property
    def made(self) -> list[relax.Var]:
        return [binding.var for binding in self.bindings]

    @property
    def read(self) -> list[relax.Var]:
        """Variables from outside."""
        made = set(self.made)
        found = (var for binding in self.bindings for var in variables(binding.value))
        return [var for var in dict.fromkeys(found) if var not in made]


def observer(mod: tvm.IRModule) -> Observe:
    """A function from the inputs of ``main`` to the values of its tensors and its time steps'.

    Those of a step are stacked along a new first axis, first index first.
    """
    parts = _parts(mod["main"])
    called = {gv: f for gv, f in mod.functions_items() if isinstance(f, tirx.PrimFunc)}
    module = relax.BlockBuilder(tvm.IRModule(called))
    for part in parts:
        step = mod[part.call.step] if part.call else None
        if step is None:
            function = _function(part.read, part.bindings, part.made)
        else:
            made = [*(b.var for b in bindings(step)), *returned(step)]
            function = _function(list(step.params), bindings(step), made)
        module.add_func(function.with_attr("global_symbol", part.name), part.name)
    legal = relax.transform.LegalizeOps(legalizations())(module.get())
    vm = relax.VirtualMachine(relax.build(legal, target="llvm"), tvm.cpu())

    def observe(record: Sequence[np.ndarray]) -> dict[relax.Var, np.ndarray]:
        seen: Values = dict(zip(mod["main"].params, record, strict=True))
        for part in parts:
            if part.call is None:
                results = _called(vm[part.name], [seen[var] for var in part.read])
                seen.update(zip(part.made, results, strict=True))
            else:
                _loop(vm[part.name], mod[part.call.step], part, seen)
        return {var: value for var, value in seen.items() if _is_numbers(var)}

    return observe


def _parts(main: relax.Function) -> list[_Part]:
    """The bindings of ``main`` in order, recurrences alone."""
    parts: list[_Part] = []
    for index, binding in enumerate(bindings(main)):
        call = scan.match(binding.value)
        if call is not None or not parts or parts[-1].call is not None:
            parts.append(_Part(f"part{index}", call=call))
        parts[-1].bindings.append(binding)
    return parts


def _function(
    params: list[relax.Var], body: Iterable[relax.VarBinding], results: list[relax.Var]
) -> relax.Function:
    """``body`` as a function that returns all of ``results``."""
    new: dict[relax.Var, relax.Expr] = {p: relax.Var(p.name, p.ty) for p in params}
    builder = relax.BlockBuilder()
    with builder.function("part", list(new.values())):
        with builder.dataflow():
            for binding in body:
                new[binding.var] = builder.emit(substitute(binding.value, new))
            output = builder.emit_output(relax.Tuple([substitute(var, new) for var in results]))
        builder.emit_func_output(output)
    return builder.get()["part"]


def _called(function: Any, args: Sequence[Any]) -> list[Any]:
    return [_numpy(result) for result in function(*map(_tensor, args))]


def _loop(function: Any, step: relax.Function, part: _Part, seen: Values) -> None:
    """All time steps of a recurrence: ``function`` gives its step's tensors, then its results."""
    call = part.call
    assert call is not None
    sequences, states = (
        [seen[x] if isinstance(x, relax.Var) else x.value.numpy() for x in operands]
        for operands in (call.sequences, call.states)
    )
    made = [binding.var for binding in bindings(step)]
    inside: dict[int, list[Any]] = {}
    for t in call.order():
        args = [*(x[t] for x in sequences), *states]
        results = _called(function, args)
        inside[t] = [*args, *results]
        states = results[len(results) - len(states) :] if states else []
    rows = [inside[t] for t in range(call.steps)]
    columns = [_stacked(column) for column in zip(*rows, strict=True)]
    seen.update(zip([*step.params, *made], columns, strict=False))
    outputs = columns[len(step.params) + len(made) : len(columns) - len(states)]
    seen[part.made[0]] = [*outputs, *states]


def _stacked(column: Sequence[Any]) -> Any:
    return np.stack(column) if isinstance(column[0], np.ndarray) else None


def _numpy(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else [_numpy(item) for item in value]


def _tensor(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_tensor, value))
    return tvm.runtime.tensor(np.ascontiguousarray(value))


def _is_numbers(var: relax.Var) -> bool:
    return isinstance(var.ty, relax.TensorType) and str(var.ty.dtype.dtype) in _DTYPES
