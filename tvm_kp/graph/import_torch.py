"""PyTorch -> Relax: every RNN becomes one ``kp.scan``, the rest comes through TVM's importer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import tvm
from torch import fx
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tvm_kp.errors import ModelError
from tvm_kp.graph import scan
from tvm_kp.graph.lstm import lstm_step

# Kept whole by the export; everything else is decomposed to PyTorch's core operators.
_RNN_OPERATORS = (
    "aten::lstm",
    "aten::gru",
    "aten::rnn_tanh",
    "aten::rnn_relu",
    "aten::lstm_cell",
    "aten::gru_cell",
    "aten::rnn_tanh_cell",
    "aten::rnn_relu_cell",
)
_SUPPORTED_RNN = "LSTM with one layer, one direction, no projection"


def import_torch(
    source: torch.nn.Module | torch.export.ExportedProgram | str | Path,
    example_inputs: Sequence[torch.Tensor] | None = None,
    batches: bool = True,
) -> tvm.IRModule:
    """The Relax module of a PyTorch model.

    ``source`` is an ``nn.Module`` (with ``example_inputs``; exported in eval mode), an
    ``ExportedProgram`` or the path of a ``.pt2`` file. ``main`` takes the model's inputs under
    their own names and returns a tuple of its outputs; parameters are constants. Raises
    ``ModelError`` for anything that cannot be imported, and without ``batches`` for a recurrence
    over a batch of more than one.
    """
    program = load_program(source, example_inputs)
    _check_static(program)
    _check_finite(program)
    program = _decompose(program)
    _check_operators(program)
    parameters = {**program.state_dict, **program.constants}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return from_exported_program(
            program,
            custom_convert_map={"lstm.input": _LstmConverter(program, parameters, batches)},
            run_ep_decomposition=False,
        )


def load_program(
    source: torch.nn.Module | torch.export.ExportedProgram | str | Path,
    example_inputs: Sequence[torch.Tensor] | None = None,
) -> torch.export.ExportedProgram:
    """``source`` as an ExportedProgram; see ``import_torch``."""
    if isinstance(source, torch.export.ExportedProgram):
        return source
    if isinstance(source, torch.nn.Module):
        return _export(source, example_inputs)
    return _load_file(Path(source))


def _load_file(path: Path) -> torch.export.ExportedProgram:
    if not path.is_file():
        raise ModelError(f"no model file at {path}; give the .pt2 that torch.export.save wrote")
    try:
        return torch.export.load(path)
    except Exception as error:  # torch raises what its zip reader, json and pickle raise
        raise ModelError(
            f"{path} is not a readable exported program "
            f"({type(error).__name__}: {_first_line(error)}); "
            "write one with torch.export.save(torch.export.export(model, inputs), path)"
        ) from error


def _export(
    model: torch.nn.Module, example_inputs: Sequence[torch.Tensor] | None
) -> torch.export.ExportedProgram:
    if example_inputs is None:
        raise ModelError("an nn.Module needs example_inputs, the tuple of tensors it is called on")
    modes = {module: module.training for module in model.modules()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(model.eval(), tuple(example_inputs))
    except Exception as error:
        raise ModelError(
            f"torch.export cannot export {type(model).__name__} "
            f"({type(error).__name__}: {_first_line(error)}); make torch.export.export(model, "
            "inputs) work first"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training


def _decompose(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    table = torch.export.default_decompositions()
    for operator in list(table):
        if operator.name().split(".")[0] in _RNN_OPERATORS:
            del table[operator]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return program.run_decompositions(table)


def _check_static(program: torch.export.ExportedProgram) -> None:
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op != "placeholder" or not isinstance(value, torch.Tensor):
            continue
        if any(isinstance(size, torch.SymInt) for size in value.shape):
            raise ModelError(
                f"input {node.name} has the dynamic shape {tuple(value.shape)}; export the model "
                "without dynamic_shapes: memory is planned at compile time"
            )


def _check_finite(program: torch.export.ExportedProgram) -> None:
    for name, tensor in {**program.state_dict, **program.constants}.items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            bad = int((~torch.isfinite(tensor)).sum())
            if bad:
                raise ModelError(
                    f"{name} has {bad} NaN or infinite of {tensor.numel()} values; "
                    "compile a checkpoint whose weights are finite"
                )


def _check_operators(program: torch.export.ExportedProgram) -> None:
    known = ExportedProgramImporter().create_convert_map()
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        name = getattr(node.target, "__name__", str(node.target))
        if name == "lstm.input":
            continue
        if name.split(".")[0] in {rnn.split("::")[1] for rnn in _RNN_OPERATORS}:
            raise ModelError(
                f"{_layer(node)} uses {name}; of the recurrent layers only an "
                f"{_SUPPORTED_RNN} is supported"
            )
        if name not in known:
            raise ModelError(
                f"{_layer(node)} uses the operator {name}, which TVM's importer does not have; "
                f"replace it by operators of PyTorch's core set"
            )
    for spec in program.graph_signature.output_specs:
        if spec.kind is torch.export.graph_signature.OutputKind.BUFFER_MUTATION:
            raise ModelError(
                f"the model writes its buffer {spec.target}; pass state in as an input and "
                "return it as an output instead"
            )


class _LstmConverter:
    """Converts ``aten.lstm.input`` to a ``kp.scan``; called by TVM's importer."""

    __name__ = "lstm"

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        parameters: dict[str, torch.Tensor],
        batches: bool,
    ) -> None:
        self._batches = batches
        targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs}
        self._parameters = {
            name: parameters[target] for name, target in targets.items() if target in parameters
        }

    def __call__(self, node: fx.Node, importer: ExportedProgramImporter) -> relax.Var:
        x_node, states, weights, has_bias, layers, _, _, bidirectional, batch_first = node.args
        w_ih, w_hh, *biases = (self._evaluate(weight, node) for weight in weights)
        self._check(node, layers, bidirectional, w_hh)
        bias = biases[0] + biases[1] if has_bias else np.zeros(w_ih.shape[0], "float32")
        emit = importer.block_builder.emit
        x = importer.env[x_node]
        batch, steps = (int(x.ty.shape[0 if batch_first else 1]), int(x.ty.shape[batch_first]))
        if batch > 1 and not self._batches:
            raise ModelError(
                f"{_layer(node)} runs a batch of {batch}; a board runs one inference at a time: "
                "export the model with a batch of 1"
            )
        swap = _swap_axes if batch > 1 else _reshape_axes
        if batch_first:
            x = emit(swap(x, steps, batch))
        h0, c0 = (
            emit(relax.op.reshape(importer.env[s], (batch, w_hh.shape[1]))) for s in states
        )
        step = importer.block_builder.add_func(lstm_step(w_ih, w_hh, bias, batch), "lstm_step")
        result = emit(scan.scan(step, [x], [h0, c0]), "lstm")
        y, h, c = (emit(result[k]) for k in range(3))
        if batch_first:
            y = emit(swap(y, batch, steps))
        h, c = (emit(relax.op.expand_dims(state, 0)) for state in (h, c))
        return emit(relax.Tuple([y, h, c]))

    def _check(self, node: fx.Node, layers: int, bidirectional: bool, w_hh: np.ndarray) -> None:
        found = f"{layers} layers" if layers != 1 else "two directions" if bidirectional else ""
        if w_hh.shape[0] != 4 * w_hh.shape[1]:
            found = "a projection (proj_size)"
        if found:
            raise ModelError(f"{_layer(node)} is an LSTM with {found}; supported: {_SUPPORTED_RNN}")

    def _evaluate(self, value: object, lstm: fx.Node) -> np.ndarray:
        """A weight that is a parameter, or an expression of parameters, as a float32 array."""
        tensor = fx.node.map_arg(value, lambda node: self._tensor(node, lstm))
        result = tensor.detach().numpy()
        if result.dtype != np.float32:
            raise ModelError(f"{_layer(lstm)} has {result.dtype} weights; use model.float()")
        return result

    def _tensor(self, node: fx.Node, lstm: fx.Node) -> torch.Tensor:
        if node.op == "placeholder":
            if node.name not in self._parameters:
                raise ModelError(
                    f"{_layer(lstm)} has a weight that depends on the input {node.name}; "
                    "weights must be parameters or expressions of parameters"
                )
            return self._parameters[node.name]
        args, kwargs = fx.node.map_arg(
            (node.args, node.kwargs), lambda operand: self._tensor(operand, lstm)
        )
        with torch.no_grad():
            return node.target(*args, **kwargs)


def _reshape_axes(x: relax.Expr, first: int, second: int) -> relax.Expr:
    # With a batch of one the two leading axes trade places without moving data.
    return relax.op.reshape(x, (first, second, x.ty.shape[2]))


def _swap_axes(x: relax.Expr, _first: int, _second: int) -> relax.Expr:
    return relax.op.permute_dims(x, [1, 0, 2])


def _layer(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path, kind = list(stack.values())[-1] if stack else ("", "model")
    kind = kind if isinstance(kind, str) else kind.__name__
    return f"layer {path or 'model'} ({kind.rsplit('.', 1)[-1]})"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
