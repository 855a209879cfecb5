"""An exported PyTorch program: loaded, checked, and decomposed to what TVM's importer knows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import fx
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tvm_kp.errors import ModelError
from tvm_kp.graph.rnn_operators import CELLS, LAYERS, WholeRNNs


def load_program(
    source: torch.nn.Module | torch.export.ExportedProgram | str | Path,
    example_inputs: Sequence[torch.Tensor] | None = None,
) -> torch.export.ExportedProgram:
    """``source`` as an ExportedProgram; raises ``ModelError`` for anything else."""
    if isinstance(source, torch.export.ExportedProgram):
        return source
    if isinstance(source, torch.nn.Module):
        return _export(source, example_inputs)
    return _load_file(Path(source))


def prepare(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """``program`` in PyTorch's core operators with its recurrent layers whole.

    Raises ``ModelError`` for dynamic shapes, for values that are not float32 or not finite, and
    for operators that are not supported.
    """
    _check_inputs(program)
    _check_values(program)
    program = _decompose(program)
    _check_operators(program)
    return program


def path_of(node: fx.Node) -> str:
    """The path of the layer that ``node`` belongs to as an identifier, ``rnn`` or ``head_0``."""
    stack = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return re.sub(r"\W", "_", path) or "model"


def layer_of(node: fx.Node) -> str:
    """The layer that ``node`` belongs to, as an error names it."""
    stack = node.meta.get("nn_module_stack") or {}
    path, kind = list(stack.values())[-1] if stack else ("", "model")
    kind = kind if isinstance(kind, str) else kind.__name__
    return f"layer {path or 'model'} ({kind.rsplit('.', 1)[-1]})"


def first_line(error: Exception) -> str:
    """What ``error`` says, short enough for one line."""
    return (str(error).strip().splitlines() or [""])[0][:200]


def _load_file(path: Path) -> torch.export.ExportedProgram:
    if not path.is_file():
        raise ModelError(f"no model file at {path}; give the .pt2 that torch.export.save wrote")
    try:
        return torch.export.load(path)
    except Exception as error:  # torch raises what its zip reader, json and pickle raise
        raise ModelError(
            f"{path} is not a readable exported program "
            f"({type(error).__name__}: {first_line(error)}); "
            "write one with torch.export.save(torch.export.export(model, inputs), path)"
        ) from error


def _export(
    model: torch.nn.Module, example_inputs: Sequence[torch.Tensor] | None
) -> torch.export.ExportedProgram:
    if example_inputs is None:
        raise ModelError("an nn.Module needs example_inputs, the tuple of tensors it is called on")
    modes = {module: module.training for module in model.modules()}
    try:
        with warnings.catch_warnings(), WholeRNNs():
            warnings.simplefilter("ignore")
            return torch.export.export(model.eval(), tuple(example_inputs))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"torch.export cannot export {type(model).__name__} "
            f"({type(error).__name__}: {first_line(error)}); make torch.export.export(model, "
            "inputs) work first"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training


def _decompose(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    with warnings.catch_warnings(), WholeRNNs():
        warnings.simplefilter("ignore")
        return program.run_decompositions()


def _check_inputs(program: torch.export.ExportedProgram) -> None:
    for name, value in _inputs(program):
        if any(isinstance(size, torch.SymInt) for size in value.shape):
            raise ModelError(
                f"input {name} has the dynamic shape {tuple(value.shape)}; export the model "
                "without dynamic_shapes: memory is planned at compile time"
            )
        _check_dtype(f"input {name}", value)


def _inputs(program: torch.export.ExportedProgram) -> Iterator[tuple[str, torch.Tensor]]:
    wanted = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and node.name in wanted and isinstance(value, torch.Tensor):
            yield node.name, value


def _check_values(program: torch.export.ExportedProgram) -> None:
    for name, tensor in program.state_dict.items():
        _check_dtype(name, tensor)
    for name, tensor in {**program.state_dict, **program.constants}.items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            bad = int((~torch.isfinite(tensor)).sum())
            if bad:
                raise ModelError(
                    f"{name} has {bad} NaN or infinite of {tensor.numel()} values; "
                    "compile a checkpoint whose weights are finite"
                )


def _check_dtype(what: str, tensor: torch.Tensor) -> None:
    if tensor.is_complex() or (tensor.is_floating_point() and tensor.dtype != torch.float32):
        found = str(tensor.dtype).removeprefix("torch.")
        raise ModelError(f"{what} is {found}; models are float32: export model.float()")


def _check_operators(program: torch.export.ExportedProgram) -> None:
    known = ExportedProgramImporter().create_convert_map()
    ours = {*LAYERS.values(), *CELLS.values()}
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        name = getattr(node.target, "__name__", str(node.target))
        if node.target in ours:
            continue
        if name not in known:
            raise ModelError(
                f"{layer_of(node)} uses the operator {name}, which TVM's importer does not have; "
                f"replace it by operators of PyTorch's core set"
            )
    for spec in program.graph_signature.output_specs:
        if spec.kind is torch.export.graph_signature.OutputKind.BUFFER_MUTATION:
            raise ModelError(
                f"the model writes its buffer {spec.target}; pass state in as an input and "
                "return it as an output instead"
            )
