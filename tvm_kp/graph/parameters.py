"""Weights of an exported program: parameters, or expressions of parameters, evaluated."""

from __future__ import annotations

import numpy as np
import torch
from torch import fx

from tvm_kp.errors import ModelError
from tvm_kp.graph.program import layer_of


class Parameters:
    """The parameters, buffers and constants of a program by the names of its placeholders."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        values = {**program.state_dict, **program.constants}
        targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs}
        self._values = {
            name: values[target] for name, target in targets.items() if target in values
        }

    def evaluate(self, weight: fx.Node, user: fx.Node) -> np.ndarray:
        """``weight`` of the layer ``user`` as an array; ``ModelError`` unless constant float32."""
        tensor = self._tensor(weight, user)
        if tensor.dtype != torch.float32:
            raise ModelError(f"{layer_of(user)} has {tensor.dtype} weights; use model.float()")
        return tensor.detach().numpy()

    def _tensor(self, node: fx.Node, user: fx.Node) -> torch.Tensor:
        if node.op == "placeholder":
            if node.name not in self._values:
                raise ModelError(
                    f"{layer_of(user)} has a weight that depends on the input {node.name}; "
                    "weights must be parameters or expressions of parameters"
                )
            return self._values[node.name]
        args, kwargs = fx.node.map_arg(
            (node.args, node.kwargs), lambda operand: self._tensor(operand, user)
        )
        with torch.no_grad():
            result: torch.Tensor = node.target(*args, **kwargs)  # type: ignore[operator]
        return result
