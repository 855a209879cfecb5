"""PyTorch -> Relax: every RNN becomes one ``kp.scan``, the rest comes through TVM's importer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import tvm
from tvm.relax.frontend.torch import from_exported_program

from tvm_kp.errors import ModelError
from tvm_kp.graph.lstm import LstmConverter
from tvm_kp.graph.program import first_line, load_program, prepare
from tvm_kp.graph.wrap_indices import WrapIndices


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
        return WrapIndices()(_convert(program, LstmConverter(program, batches)))


def _convert(program: torch.export.ExportedProgram, lstm: LstmConverter) -> tvm.IRModule:
    try:
        return from_exported_program(
            program, custom_convert_map={"lstm.input": lstm}, run_ep_decomposition=False
        )
    except ModelError:
        raise
    except Exception as error:  # what the importer does not know ends in any kind of error
        raise ModelError(
            f"TVM's importer cannot convert the model ({type(error).__name__}: "
            f"{first_line(error)}); use plainer operators or arguments where it says"
        ) from error
