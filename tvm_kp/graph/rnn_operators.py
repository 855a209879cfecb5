"""PyTorch's recurrent layers as operators of our own, whose shapes need no run over time.

PyTorch finds the shapes of ``aten.lstm`` and its like by running them on fake tensors one time
step after the other: seconds for a thousand steps, at export and again at decomposition. Inside
``WholeRNNs`` such a layer is traced as ``tvm_kp.lstm`` with the same arguments instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_ARGUMENTS = (
    "Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, "
    "bool bidirectional, bool batch_first"
)


def _define(name: str, states: int) -> torch._ops.OpOverload:
    """Register ``tvm_kp::name`` with the schema and the shapes of ``aten::name.input``."""
    hx = "Tensor[] hx" if states > 1 else "Tensor hx"
    results = ", ".join(["Tensor"] * (1 + states))
    torch.library.define(f"tvm_kp::{name}", f"(Tensor input, {hx}, {_ARGUMENTS}) -> ({results})")

    def fake(input: torch.Tensor, hx: Any, *rest: Any) -> tuple[torch.Tensor, ...]:
        initial = hx if states > 1 else (hx,)
        directions = 1 + rest[-2]
        output = input.new_empty(*input.shape[:2], directions * initial[0].shape[-1])
        return (output, *(torch.empty_like(state) for state in initial))

    torch.library.register_fake(f"tvm_kp::{name}", fake)
    return getattr(torch.ops.tvm_kp, name).default


_STATES = {"lstm": 2, "gru": 1, "rnn_tanh": 1, "rnn_relu": 1}
OPERATORS: Mapping[str, torch._ops.OpOverload] = {
    name: _define(name, states) for name, states in _STATES.items()
}
_REPLACED: Mapping[Any, torch._ops.OpOverload] = {
    original: operator
    for name, operator in OPERATORS.items()
    for original in (getattr(torch, name), getattr(torch.ops.aten, name).input)
}


class WholeRNNs(TorchFunctionMode):
    """Trace ``torch.lstm``, ``gru``, ``rnn_tanh`` and ``rnn_relu`` as operators of our own.

    Packed sequences are left alone.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        # A packed sequence has its parameters there instead of ``has_biases``.
        if func in _REPLACED and len(args) == 9 and isinstance(args[3], bool):
            func = _REPLACED[func]
        return func(*args, **(kwargs or {}))
