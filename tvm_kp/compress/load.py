"""A model from the function in a user's file that makes it."""

from __future__ import annotations

import os
import sys
import textwrap
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from types import ModuleType

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from tvm_kp.compress.plans import on_one_device
from tvm_kp.errors import ModelError, told

_MODULE = "tvm_kp_model"  # no name of another module: that one would be lost
_SAVE = "torch.save(model.state_dict(), file)"


def load_model(spec: str, weights: Path | None = None, seed: int = 0) -> nn.Module:
    """What the function in ``spec``, "file.py:factory", returns, with ``weights``, in eval mode.

    The file's folder is on ``sys.path`` meanwhile. ``weights`` is the file of a ``state_dict``.
    PyTorch's generator starts from ``seed`` before: what the function, and ``apply`` after it,
    draw is the same every time. Raises ``ModelError`` for all that goes wrong, also in the file.
    """
    torch.manual_seed(seed)
    model = _made(spec)
    if weights is not None:
        _take(model, weights)
    named = dict(model.named_parameters())
    if any(map(is_lazy, named.values())):
        raise ModelError(f"{spec} has lazy layers: let it call the model on a sample once")
    if named:
        on_one_device(list(named.values()))
    for name, parameter in named.items():
        if not parameter.isfinite().all():
            raise ModelError(f"{name} has NaN or infinite values; give weights that are finite")
    return model.eval()


def _made(spec: str) -> nn.Module:
    file, _, factory = spec.rpartition(":")
    path = Path(os.path.abspath(file))
    if path.suffix != ".py" or not factory:
        raise ModelError(_no_code(spec))
    if not path.is_file():
        raise ModelError(f"no file {file}: give FILE.py:FACTORY, the function that makes the model")
    with _users_code(path):
        module = _imported(path)
    make = getattr(module, factory, None)
    if not callable(make):
        own = [
            name
            for name, value in vars(module).items()
            if callable(value) and value.__module__ == _MODULE
        ]
        there = f"there are {', '.join(own)}" if own else "it defines none"
        raise ModelError(f"{file} has no function {factory}; {there}")
    with _users_code(path):
        model = make()
    if not isinstance(model, nn.Module):
        raise ModelError(f"{spec} returns a {type(model).__name__}; return the nn.Module")
    return model


def _no_code(spec: str) -> str:
    if Path(spec).suffix in (".pt", ".pth"):
        return (
            f"{spec} can hold the weights, but not the code of a model: give FILE.py:FACTORY "
            f"--weights {spec}, where FACTORY is the function in FILE.py that makes the model"
        )
    return (
        f"MODEL is {spec}; give FILE.py:FACTORY, a file and a function in it that takes no "
        "arguments and returns the nn.Module, for example model.py:make"
    )


def _imported(path: Path) -> ModuleType:
    spec = util.spec_from_file_location(_MODULE, path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = util.module_from_spec(spec)
    sys.modules[_MODULE] = module  # where dataclasses and torch.export look for it
    spec.loader.exec_module(module)
    return module


@contextmanager
def _users_code(path: Path) -> Iterator[None]:
    """Runs what is in the user's file, beside which its other modules are found."""
    sys.path.insert(0, str(path.parent))
    try:
        yield
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        place = f" (line {lines[-1]})" if lines else ""
        raise ModelError(f"{path.name} raised {told(error)}{place}") from error
    finally:
        sys.path.remove(str(path.parent))


def _take(model: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"no file {path}: save the weights with {_SAVE}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its zip reader and unpickler raise
        raise ModelError(f"cannot read {path} as weights: save them with {_SAVE}") from error
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ModelError(f"{path} holds a {type(state).__name__}: save the weights with {_SAVE}")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        why = textwrap.shorten(str(error).partition("\n")[2], 300, placeholder=" …")
        raise ModelError(f"{path} does not fit {type(model).__name__}: {why}") from error
