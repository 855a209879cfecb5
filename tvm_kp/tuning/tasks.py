"""The distinct kernels of a model, and how often an inference calls each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.ir import GenericConst

from tvm_kp.c.join_parameters import Joined, kept_parameters
from tvm_kp.c.model import plan_model
from tvm_kp.graph.rewrite import bindings, name_of
from tvm_kp.kernel import identity
from tvm_kp.kernel.schedule import Way, schedule, ways
from tvm_kp.lowering import Lowered, Options
from tvm_kp.target import Target


@dataclass(frozen=True)
class Task:
    """A kernel to tune: the PrimFunc before it is scheduled, and the ``ways`` to do that.

    ``calls`` are those of an inference. ``constants`` are its constant operands by index;
    parameters that are ``joined`` lie in one tensor in the model, and those at the indices
    ``aliased`` share memory in it otherwise. The first of ``ways`` is the default.
    """

    name: str
    key: str
    label: str
    function: tirx.PrimFunc
    calls: int
    aliased: frozenset[int]
    joined: tuple[Joined, ...]
    constants: Mapping[int, np.ndarray]
    results: int
    ways: tuple[Way, ...]

    @property
    def default(self) -> Way:
        return self.ways[0]


def tasks_of(lowered: Lowered, target: Target, options: Options) -> list[Task]:
    """The kernels of a module on ``target``; those that differ in numbers alone are one."""
    mod = lowered.legal
    kernels = schedule(mod, target.isa)
    planned = plan_model(
        mod, kernels, "tuned", target.name, options.workspace_alignment, lowered.initial
    )
    found: dict[str, Task] = {}
    for name in planned.order:
        function, calls = mod[name], planned.calls[name]
        key = identity.key(function)
        if key in found:
            found[key] = replace(found[key], calls=found[key].calls + calls)
            continue
        constants, results = _operands(mod, name)
        joined = planned.joined[name]
        kept = kept_parameters(len(kernels[name].params), joined)
        found[key] = Task(
            name,
            key,
            identity.label(function, name),
            function,
            calls,
            frozenset(kept[index] for index in planned.aliased[name]),
            joined,
            constants,
            results,
            tuple(ways(function, target.isa)),
        )
    return list(found.values())


def _operands(mod: tvm.IRModule, name: str) -> tuple[dict[int, np.ndarray], int]:
    """The constant operands of the first call of a PrimFunc, by index, and its results."""
    call = next(_calls(mod, name))
    operands = list(call.args[1].fields)
    constants = {
        index: operand.value.numpy()
        for index, operand in enumerate(operands)
        if isinstance(operand, GenericConst)
    }
    return constants, len(mod[name].params) - len(operands)


def _calls(mod: tvm.IRModule, name: str) -> Iterator[relax.Call]:
    for _, function in mod.functions_items():
        if isinstance(function, relax.Function):
            for binding in bindings(function):
                value = binding.value
                if name_of(value) == "relax.call_tir" and value.args[0].name_hint == name:
                    yield value
