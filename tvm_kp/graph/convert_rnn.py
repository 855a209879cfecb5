"""Recurrent layers -> ``kp.scan``, one a layer and direction; recurrent cells -> one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import fx
from tvm import relax
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tvm_kp.errors import ModelError
from tvm_kp.graph import rnn_operators, scan
from tvm_kp.graph.cells import CELLS, Cell, Weights
from tvm_kp.graph.parameters import Parameters
from tvm_kp.graph.program import layer_of, path_of

Convert = Callable[[fx.Node, ExportedProgramImporter], relax.Var]


class _Layer(NamedTuple):
    """What ``aten::lstm.input`` and its like are called with, the kind in front."""

    kind: str
    x: fx.Node
    hx: Any  # one node, or the two of an LSTM
    params: Sequence[fx.Node]
    has_biases: bool
    num_layers: int
    dropout: float
    train: bool
    bidirectional: bool
    batch_first: bool

    @property
    def directions(self) -> int:
        return 1 + self.bidirectional

    def weights(self, index: int) -> Sequence[fx.Node]:
        """Those of one layer and direction."""
        count = len(self.params) // (self.num_layers * self.directions)
        return self.params[index * count : (index + 1) * count]

    def suffix(self, index: int) -> str:
        """What PyTorch ends the names of their weights in, where there are several."""
        layer, direction = divmod(index, self.directions)
        name = f"_l{layer}" if self.num_layers > 1 else ""
        return name + ("_reverse" if direction else "")


class RNNConverter:
    """Converts ``tvm_kp.lstm`` and its like, called by TVM's importer.

    Without ``batches`` a batch of more than one is refused. Weights that are expressions of
    parameters are evaluated.
    """

    def __init__(self, program: torch.export.ExportedProgram, batches: bool) -> None:
        self._batches = batches
        self._parameters = Parameters(program)
        self._cells: dict[tuple[fx.Node | None, ...], Cell] = {}

    def converters(self) -> dict[str, Convert]:
        """One for every operator, by the name that the importer looks for."""
        layers = {op: partial(self._layer, kind) for kind, op in rnn_operators.LAYERS.items()}
        cells = {op: partial(self._cell, kind) for kind, op in rnn_operators.CELLS.items()}
        return {op.__name__: _named(convert) for op, convert in {**layers, **cells}.items()}

    def _layer(self, kind: str, node: fx.Node, importer: ExportedProgramImporter) -> relax.Var:
        args: tuple[Any, ...] = node.args
        layer = _Layer(kind, *args)
        if layer.train and layer.dropout:
            raise ModelError(f"{layer_of(node)} was exported in training mode; use model.eval()")
        emit = importer.block_builder.emit
        x = importer.env[layer.x]
        batch, steps = (int(x.ty.shape[k]) for k in (1 - layer.batch_first, layer.batch_first))
        self._check_batch(node, batch)
        x = emit(_swapped(x, steps, batch)) if layer.batch_first else x
        final = []
        for first in range(0, layer.num_layers * layer.directions, layer.directions):
            outputs = []
            for index in range(first, first + layer.directions):
                y, *states = self._scan(layer, index, x, node, importer)
                outputs.append(y)
                final.append(states)
            x = emit(relax.op.concat(outputs, axis=-1)) if len(outputs) > 1 else outputs[0]
        x = emit(_swapped(x, batch, steps)) if layer.batch_first else x
        stacked = [_stack(emit, states) for states in zip(*final, strict=True)]
        return emit(relax.Tuple([x, *stacked]))

    def _scan(
        self,
        layer: _Layer,
        index: int,
        x: relax.Expr,
        node: fx.Node,
        importer: ExportedProgramImporter,
    ) -> list[relax.Var]:
        """One direction of one layer over ``x`` (T, N, I): y (T, N, H) and the final states."""
        builder, batch = importer.block_builder, int(x.ty.shape[1])
        names: list[fx.Node | None] = list(layer.weights(index))
        if not layer.has_biases:
            names[2:2] = [None, None]
        cell = self._made(layer.kind, names, node)
        nodes = [layer.hx] if isinstance(layer.hx, fx.Node) else layer.hx
        initial = [
            _row(builder.emit, importer.env[state], index, (batch, width))
            for state, width in zip(nodes, cell.widths, strict=True)
        ]
        name = path_of(node) + layer.suffix(index)
        step = builder.add_func(cell.step(batch), f"{name}_step")
        reverse = index % layer.directions == 1
        result = builder.emit(scan.scan(step, [x], initial, reverse), name)
        return [builder.emit(result[k]) for k in range(1 + len(initial))]

    def _cell(self, kind: str, node: fx.Node, importer: ExportedProgramImporter) -> relax.Var:
        args: tuple[Any, ...] = node.args
        x, hx, *weights = args
        cell = self._made(kind, weights, node)
        inputs = importer.env[x]
        self._check_batch(node, int(inputs.ty.shape[0]))
        states = [importer.env[state] for state in ([hx] if isinstance(hx, fx.Node) else hx)]
        new = cell.emit(importer.block_builder, inputs, states)
        return importer.block_builder.emit(relax.Tuple(new)) if len(new) > 1 else new[0]

    def _made(self, kind: str, weights: Sequence[fx.Node | None], node: fx.Node) -> Cell:
        """The cell with these weights; calls in a loop share it, and so its constants."""
        key = tuple(weights)
        if key not in self._cells:
            evaluate = partial(self._parameters.evaluate, user=node)
            arrays: list[Any] = [None if one is None else evaluate(one) for one in weights]
            self._cells[key] = CELLS[kind](Weights(*arrays))
        return self._cells[key]

    def _check_batch(self, node: fx.Node, batch: int) -> None:
        if batch > 1 and not self._batches:
            raise ModelError(
                f"{layer_of(node)} runs a batch of {batch}; a board runs one inference at a time: "
                "export the model with a batch of 1"
            )


def _named(convert: partial[relax.Var]) -> Convert:
    convert.__name__ = "convert"  # type: ignore[attr-defined]  # TVM's importer asks for it
    return convert


def _row(
    emit: Callable[[relax.Expr], relax.Var], states: relax.Expr, index: int, shape: tuple[int, int]
) -> relax.Var:
    if int(states.ty.shape[0]) > 1:
        states = emit(relax.op.strided_slice(states, [0], [index], [index + 1]))
    return emit(relax.op.reshape(states, shape))


def _stack(emit: Callable[[relax.Expr], relax.Var], states: Sequence[relax.Expr]) -> relax.Var:
    rows = [emit(relax.op.expand_dims(state, 0)) for state in states]
    return emit(relax.op.concat(rows, axis=0)) if len(rows) > 1 else rows[0]


def _swapped(x: relax.Expr, first: int, second: int) -> relax.Expr:
    """The two leading axes trade places; with a batch of one no data moves."""
    if 1 in (first, second):
        return relax.op.reshape(x, (first, second, x.ty.shape[2]))
    return relax.op.permute_dims(x, [1, 0, 2])
