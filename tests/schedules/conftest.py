"""Modules whose schedule is looked at, and run on the host and on a board with an FPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_kp import board, graph
from tvm_kp.artifacts import Model
from tvm_kp.kernel.schedule import schedule
from tvm_kp.target import Target

TARGETS = ("host", "mps2-an386")


@pytest.fixture(scope="session")
def module() -> Callable[..., tvm.IRModule]:
    """``(build, shape…)`` -> a module whose main returns ``build(emit, x0, …)``."""

    def make(build: Callable[..., list], *shapes: tuple[int, ...]) -> tvm.IRModule:
        builder = relax.BlockBuilder()
        inputs = [
            relax.Var(f"x{k}", relax.TensorType(shape, "float32")) for k, shape in enumerate(shapes)
        ]
        with builder.function("main", inputs):
            with builder.dataflow():
                result = builder.emit_output(relax.Tuple(build(builder.emit, *inputs)))
            builder.emit_func_output(result)
        return builder.get()

    return make


@pytest.fixture(scope="session")
def kernels() -> Callable[[tvm.IRModule, str], dict[str, str]]:
    """The scheduled functions of a module by name, as text."""

    def make(mod: tvm.IRModule, target: str) -> dict[str, str]:
        lowered = schedule(graph.legalize()(mod), Target.load(target).isa)
        return {name: function.script() for name, function in lowered.items()}

    return make


@pytest.fixture(scope="session")
def assert_same_as_vm(model_of: Callable[..., Model]) -> Callable[[tvm.IRModule], None]:
    """TVM's own schedules through LLVM and ours in C give the same, here and on a board."""

    def check(mod: tvm.IRModule) -> None:
        random = np.random.default_rng(0)
        shapes = [[int(n) for n in p.ty.shape] for p in mod["main"].params]
        data = [random.uniform(-2, 2, shape).astype("float32") for shape in shapes]
        vm = relax.VirtualMachine(relax.build(mod, target="llvm"), tvm.cpu())
        expected = [out.numpy() for out in vm["main"](*map(tvm.runtime.tensor, data))]
        for target in TARGETS:
            inputs = {f"x{k}": array[None] for k, array in enumerate(data)}
            found = board.run(model_of(mod, target), Target.load(target), inputs).outputs
            for (name, value), wanted in zip(found.items(), expected, strict=True):
                error = np.abs(value[0].astype("float64") - wanted).max()
                assert error <= 2e-6 * max(1, np.abs(wanted).max()), f"{name} on {target}: {error}"

    return check
