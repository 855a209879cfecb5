"""Small recurrent networks, and TVM's virtual machine to compare modules with PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import tvm
from tvm import relax

from tvm_kp.graph import ExpandScan, import_torch, legalize, normalize


class Net(torch.nn.Module):
    """One LSTM and what ``head`` makes of (y, h_n, c_n)."""

    def __init__(self, head: Callable[..., Any], **settings: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm = torch.nn.LSTM(3, 4, **settings)
        self.head = head

    def forward(self, x, *states):
        y, (h, c) = self.lstm(x, states or None)
        return self.head(y, h, c)


@pytest.fixture(scope="session")
def net() -> type[Net]:
    return Net


def _on_vm(mod: tvm.IRModule, *inputs: Any) -> list[np.ndarray]:
    relax.analysis.well_formed(mod)
    executable = relax.build(ExpandScan()(mod), "llvm")
    arrays = [tvm.runtime.tensor(np.ascontiguousarray(value)) for value in inputs]
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](*arrays)
    return [r.numpy() for r in ([result] if hasattr(result, "numpy") else result)]


@pytest.fixture(scope="session")
def on_vm() -> Callable[..., list[np.ndarray]]:
    """What TVM's virtual machine computes from inputs; checks that the module is well-formed."""
    return _on_vm


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """``assert_same(mod, model, *inputs)``: the module computes what the PyTorch model does."""

    def check(mod: tvm.IRModule, model: torch.nn.Module, *inputs: torch.Tensor) -> None:
        with torch.no_grad():
            result = model.eval()(*inputs)
        expected = [t.numpy() for t in (result if isinstance(result, tuple | list) else [result])]
        found = _on_vm(mod, *inputs)
        assert [a.shape for a in found] == [b.shape for b in expected]
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)

    return check


@pytest.fixture(scope="session")
def model() -> Net:
    """A batch-first LSTM whose output sequence, last output and c_n are read."""
    return Net(lambda y, h, c: (y, y[:, -1], c), batch_first=True)


@pytest.fixture(scope="session")
def sample() -> torch.Tensor:
    return torch.linspace(-1, 1, 12).reshape(1, 4, 3)


@pytest.fixture(scope="session")
def imported(model: Net, sample: torch.Tensor) -> tvm.IRModule:
    return import_torch(model, (sample,))


@pytest.fixture(scope="session")
def normalized(imported: tvm.IRModule) -> tvm.IRModule:
    return normalize()(imported)


@pytest.fixture(scope="session")
def legalized(normalized: tvm.IRModule) -> tvm.IRModule:
    return legalize()(normalized)


@pytest.fixture(scope="session")
def module_of() -> Callable[..., tvm.IRModule]:
    """``module_of(body, x=(2, 3))``: ``main(x)`` returns ``body(emit, x)``, float32."""

    def build(body: Callable[..., relax.Expr], **shapes: tuple[int, ...]) -> tvm.IRModule:
        builder = relax.BlockBuilder()
        params = [relax.Var(n, relax.TensorType(s, "float32")) for n, s in shapes.items()]
        with builder.function("main", params):
            with builder.dataflow():
                result = builder.emit_output(body(builder.emit, *params))
            builder.emit_func_output(result)
        return builder.get()

    return build


@pytest.fixture(scope="session")
def assert_kept() -> Callable[..., None]:
    """``assert_kept(before, after)``: same results on random inputs, and ``after`` well-formed."""

    def check(before: tvm.IRModule, after: tvm.IRModule, scale: float = 1.0) -> None:
        random = np.random.default_rng(0)
        inputs = [
            random.uniform(-scale, scale, [int(n) for n in param.ty.shape]).astype("float32")
            for param in before["main"].params
        ]
        for a, b in zip(_on_vm(before, *inputs), _on_vm(after, *inputs), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)

    return check


@pytest.fixture(scope="session")
def assert_equal() -> Callable[..., None]:
    """Structural equality but for renamings: ``rebuild`` ends a function in one."""

    def check(found: tvm.IRModule, expected: tvm.IRModule) -> None:
        relax.analysis.well_formed(found)
        clean = relax.transform.CanonicalizeBindings()
        tvm.ir.assert_structural_equal(clean(found), clean(expected))

    return check
