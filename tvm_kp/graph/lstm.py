"""``tvm_kp.lstm`` -> ``kp.scan``, and one time step of it as a Relax function."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx
from tvm import relax
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tvm_kp.errors import ModelError
from tvm_kp.graph import scan
from tvm_kp.graph.program import SUPPORTED_RNN, layer_of, path_of


def lstm_step(w_ih: np.ndarray, w_hh: np.ndarray, bias: np.ndarray, batch: int) -> relax.Function:
    """``step(x, h, c) -> (h', h', c')`` with w_ih (4H, I), w_hh (4H, H), bias (4H,), float32."""
    (rows, inputs), hidden = w_ih.shape, w_hh.shape[1]
    builder = relax.BlockBuilder()
    x, h, c = (
        relax.Var(name, relax.TensorType((batch, size), "float32"))
        for name, size in (("x", inputs), ("h", hidden), ("c", hidden))
    )
    op = relax.op
    with builder.function("step", [x, h, c], private=True):
        with builder.dataflow():
            from_x = builder.emit(op.matmul(x, relax.const(w_ih.T.copy())), "weight_ih")
            from_h = builder.emit(op.matmul(h, relax.const(w_hh.T.copy())), "weight_hh")
            gates = builder.emit(op.add(from_x, from_h), "weight_ih_hh")
            if np.any(bias):
                gates = builder.emit(op.add(gates, relax.const(bias.reshape(1, rows))))
            parts = builder.emit(op.split(gates, 4, axis=1))
            i, f, g, o = (builder.emit(parts[k]) for k in range(4))
            kept = builder.emit(op.multiply(op.sigmoid(f), c))
            added = builder.emit(op.multiply(op.sigmoid(i), op.tanh(g)))
            new_c = builder.emit(op.add(kept, added))
            new_h = builder.emit(op.multiply(op.sigmoid(o), op.tanh(new_c)))
            result = builder.emit_output(relax.Tuple([new_h, new_h, new_c]))
        builder.emit_func_output(result)
    return builder.get()["step"]


class LstmConverter:
    """Converts ``tvm_kp.lstm`` to a ``kp.scan``; called by TVM's importer.

    Without ``batches`` a batch of more than one is refused. Weights that are expressions of
    parameters are evaluated.
    """

    __name__ = "lstm"  # TVM's importer asks for it

    def __init__(self, program: torch.export.ExportedProgram, batches: bool) -> None:
        self._batches = batches
        values = {**program.state_dict, **program.constants}
        targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs}
        self._parameters = {
            name: values[target] for name, target in targets.items() if target in values
        }

    def __call__(self, node: fx.Node, importer: ExportedProgramImporter) -> relax.Var:
        args: tuple[Any, ...] = node.args
        x_node, states, weights, has_bias, layers, _, _, bidirectional, batch_first = args
        w_ih, w_hh, *biases = (self._evaluate(weight, node) for weight in weights)
        _check(node, layers, bidirectional, w_hh)
        bias = biases[0] + biases[1] if has_bias else np.zeros(w_ih.shape[0], "float32")
        emit = importer.block_builder.emit
        x = importer.env[x_node]
        batch, steps = int(x.ty.shape[0 if batch_first else 1]), int(x.ty.shape[batch_first])
        self._check_batch(node, batch)
        swap = _swap_axes if batch > 1 else _reshape_axes
        if batch_first:
            x = emit(swap(x, steps, batch))
        h0, c0 = (emit(relax.op.reshape(importer.env[s], (batch, w_hh.shape[1]))) for s in states)
        step = importer.block_builder.add_func(
            lstm_step(w_ih, w_hh, bias, batch), f"{path_of(node)}_step"
        )
        result = emit(scan.scan(step, [x], [h0, c0]), path_of(node))
        y, h, c = (emit(result[k]) for k in range(3))
        if batch_first:
            y = emit(swap(y, batch, steps))
        h, c = (emit(relax.op.expand_dims(state, 0)) for state in (h, c))
        return emit(relax.Tuple([y, h, c]))

    def _check_batch(self, node: fx.Node, batch: int) -> None:
        if batch > 1 and not self._batches:
            raise ModelError(
                f"{layer_of(node)} runs a batch of {batch}; a board runs one inference at a time: "
                "export the model with a batch of 1"
            )

    def _evaluate(self, weight: fx.Node, lstm: fx.Node) -> np.ndarray:
        """A weight that is a parameter, or an expression of parameters, as a float32 array."""
        tensor = self._tensor(weight, lstm)
        if tensor.dtype != torch.float32:
            raise ModelError(f"{layer_of(lstm)} has {tensor.dtype} weights; use model.float()")
        return tensor.detach().numpy()

    def _tensor(self, node: fx.Node, lstm: fx.Node) -> torch.Tensor:
        if node.op == "placeholder":
            if node.name not in self._parameters:
                raise ModelError(
                    f"{layer_of(lstm)} has a weight that depends on the input {node.name}; "
                    "weights must be parameters or expressions of parameters"
                )
            return self._parameters[node.name]
        args, kwargs = fx.node.map_arg(
            (node.args, node.kwargs), lambda operand: self._tensor(operand, lstm)
        )
        with torch.no_grad():
            result: torch.Tensor = node.target(*args, **kwargs)  # type: ignore[operator]
        return result


def _check(node: fx.Node, layers: int, bidirectional: bool, w_hh: np.ndarray) -> None:
    found = f"{layers} layers" if layers != 1 else "two directions" if bidirectional else ""
    if w_hh.shape[0] != 4 * w_hh.shape[1]:
        found = "a projection (proj_size)"
    if found:
        raise ModelError(f"{layer_of(node)} is an LSTM with {found}; supported: {SUPPORTED_RNN}")


def _reshape_axes(x: relax.Expr, first: int, second: int) -> relax.Expr:
    # With a batch of one the two leading axes trade places without moving data.
    return relax.op.reshape(x, (first, second, x.ty.shape[2]))


def _swap_axes(x: relax.Expr, _first: int, _second: int) -> relax.Expr:
    return relax.op.permute_dims(x, [1, 0, 2])
