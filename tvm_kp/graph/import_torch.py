"""PyTorch -> Relax: every RNN becomes one ``kp.scan``, the rest comes through TVM's importer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import tvm
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program

from tvm_kp.errors import ModelError
from tvm_kp.graph.convert_rnn import RNNConverter
from tvm_kp.graph.program import first_line, load_program, path_of, prepare
from tvm_kp.graph.rewrite import bindings, name_of, rebuild
from tvm_kp.graph.wrap_indices import WrapIndices

# What PyTorch's core operators call a product; each becomes one ``relax.matmul``.
_PRODUCTS = ("addmm.default", "mm.default", "linear.default", "bmm.default", "matmul.default")


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
    program = prepare(load_program(source, example_inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mod = _convert(program, RNNConverter(program, batches))
    return WrapIndices()(_name_products(mod, program))


def _convert(program: torch.export.ExportedProgram, rnn: RNNConverter) -> tvm.IRModule:
    try:
        return from_exported_program(
            program, custom_convert_map=rnn.converters(), run_ep_decomposition=False
        )
    except ModelError:
        raise
    except Exception as error:  # what the importer does not know ends in any kind of error
        raise ModelError(
            f"TVM's importer cannot convert the model ({type(error).__name__}: "
            f"{first_line(error)}); use plainer operators or arguments where it says"
        ) from error


def _name_products(mod: tvm.IRModule, program: torch.export.ExportedProgram) -> tvm.IRModule:
    """Call every product in ``main`` what its layer is called; the importer calls it ``lv7``."""
    layers = [path_of(node) for node in program.graph.nodes if _target(node) in _PRODUCTS]
    products = [b.var for b in bindings(mod["main"]) if name_of(b.value) == "relax.matmul"]
    if len(layers) != len(products):
        return mod
    names = dict(zip(products, layers, strict=True))

    def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
        return builder.emit(value, names.get(var, var.name))

    mod.update_func(mod.get_global_var("main"), rebuild(mod["main"], emit))
    return mod


def _target(node: torch.fx.Node) -> str:
    return getattr(node.target, "__name__", "") if node.op == "call_function" else ""
