"""The exported program of a model, as the bytes of its file."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr

import torch
from torch import nn

from tvm_kp.errors import ModelError, told


def export(model: nn.Module, shape: Sequence[int]) -> bytes:
    """The ``.pt2`` file of ``model`` for an input of this ``shape``; raises ``ModelError``."""
    file, here = io.BytesIO(), copy.deepcopy(model).cpu().eval()
    try:
        with _quiet():
            program = torch.export.export(here, (torch.zeros(*shape),))
            torch.export.save(program, file)
    except Exception as error:  # torch.export raises what the model's code and its own raise
        raise ModelError(
            f"torch.export cannot export {type(model).__name__} for an input {tuple(shape)}: "
            f"{told(error)}; make torch.export.export(model, (x,)) work first"
        ) from error
    return file.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch.export warns of, logs and prints: its errors say what matters."""
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
