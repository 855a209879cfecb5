"""PyTorch's recurrent layers as operators of our own, whose shapes need no run over time.

PyTorch finds the shapes of ``aten.lstm`` and its like by running them on fake tensors one time
step after the other: seconds for a thousand steps, at export and again at decomposition. Inside
``WholeRNNs`` such a layer is traced as ``tvm_kp.lstm`` with the same arguments instead, and a
cell, which PyTorch would decompose, as ``tvm_kp.lstm_cell``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode

from tvm_kp.errors import ModelError

_LAYER = (
    "(Tensor input, {hx} hx, Tensor[] params, bool has_biases, int num_layers, float dropout, "
    "bool train, bool bidirectional, bool batch_first) -> ({results})"
)
_CELL = (
    "(Tensor input, {hx} hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None)"
    " -> ({results})"
)
_STATES = {"lstm": 2, "gru": 1, "rnn_tanh": 1, "rnn_relu": 1}


def _layer(name: str, states: int) -> OpOverload:
    """Register ``tvm_kp::name`` with the schema and the shapes of ``aten::name.input``."""

    def fake(input: torch.Tensor, hx: Any, *rest: Any) -> tuple[torch.Tensor, ...]:
        initial = hx if states > 1 else (hx,)
        directions = 1 + rest[-2]
        output = input.new_empty(*input.shape[:2], directions * initial[0].shape[-1])
        return (output, *(torch.empty_like(state) for state in initial))

    return _register(name, _LAYER, states, 1 + states, fake)


def _cell(name: str, states: int) -> OpOverload:
    """Register ``tvm_kp::name`` with the schema and the shapes of ``aten::name``."""

    def fake(_input: torch.Tensor, hx: Any, *_weights: Any) -> Any:
        return tuple(map(torch.empty_like, hx)) if states > 1 else torch.empty_like(hx)

    return _register(name, _CELL, states, states, fake)


def _register(
    name: str, schema: str, states: int, results: int, fake: Callable[..., Any]
) -> OpOverload:
    hx = "Tensor[]" if states > 1 else "Tensor"
    torch.library.define(
        f"tvm_kp::{name}", schema.format(hx=hx, results=", ".join(["Tensor"] * results))
    )
    torch.library.register_fake(f"tvm_kp::{name}", fake)
    operator: OpOverload = getattr(torch.ops.tvm_kp, name).default
    return operator


LAYERS: Mapping[str, OpOverload] = {kind: _layer(kind, n) for kind, n in _STATES.items()}
CELLS: Mapping[str, OpOverload] = {
    kind: _cell(f"{kind}_cell", states) for kind, states in _STATES.items()
}
_REPLACED: Mapping[Any, OpOverload] = {
    **{getattr(torch, kind): operator for kind, operator in LAYERS.items()},
    **{getattr(torch.ops.aten, kind).input: operator for kind, operator in LAYERS.items()},
    **{getattr(torch, f"{kind}_cell"): operator for kind, operator in CELLS.items()},
    **{getattr(torch.ops.aten, f"{kind}_cell").default: op for kind, op in CELLS.items()},
}


class WholeRNNs(TorchFunctionMode):
    """Trace PyTorch's recurrent layers and cells as operators of our own.

    Raises ``ModelError`` where a sequence is packed: its lengths are known only when it runs.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch._VF._pack_padded_sequence:
            raise ModelError(
                "the model packs a sequence (pack_padded_sequence); memory is planned for one "
                "length: call the recurrent layer on the tensor itself"
            )
        return _REPLACED.get(func, func)(*args, **(kwargs or {}))
