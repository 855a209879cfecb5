"""How many bytes the parameters of a model take, as it is and under a plan."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, cast

from torch import nn

from tvm_kp.compress.forms import Form
from tvm_kp.compress.plans import Choice, Plan, Site, chosen
from tvm_kp.compress.weights import Weight
from tvm_kp.errors import InputError

BITS = (8, 32)
_UNITS = {"": 1, "B": 1, "KB": 1024, "MB": 1024**2}


def size(model: nn.Module, plan: Plan | None = None, bits: int = 32) -> int:
    """Bytes of all parameters of ``model``, of ``bits`` each, once ``plan`` is applied to it.

    PyTorch's two biases count as one, because only their sum acts, but for those of ``nn.GRU``.
    Of pruned and doped weights those entries count that are kept in the end. Raises
    ``InputError`` for bits other than 8 and 32, and ``ModelError`` for a plan that does not fit.
    """
    if bits not in BITS:
        raise InputError(f"bits {bits!r}; there are 8, 32")
    pairs = [] if plan is None else chosen(model, plan)
    made = sum(numbers(choice, site) for choice, site in pairs)
    return (numbers_outside(model, [site for _, site in pairs]) + made) * bits // 8


def parse_size(text: str | int) -> int:
    """The bytes that "16KB", "1.5MB", "900B" or 900 stand for; a KB is 1024 bytes.

    Raises ``InputError`` for anything else, and for less than one byte.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KM]?B)?\s*", str(text), re.IGNORECASE)
    result = int(Fraction(match[1]) * _UNITS[(match[2] or "").upper()]) if match else 0
    if result < 1:
        raise InputError(f"a size of {text!r}; give bytes, for example 16KB, 1.5MB or 16384")
    return result


def numbers(choice: Choice, site: Site) -> int:
    """Of the matrix once it has its forms."""
    return sum(
        gates * form.parameters(rows, cols) for form, gates, rows, cols in choice.blocks(site)
    )


def numbers_outside(model: nn.Module, replaced: list[Site]) -> int:
    """Numbers of all parameters but the ``replaced``; those that layers share count once."""
    gone = {(site.layer, name) for site in replaced for name in site.weights}
    total, counted = 0, set[int]()
    for module in model.modules():
        if isinstance(module, Weight):
            form = cast(Form, cast(Any, module).form)
            total += module.gates * form.parameters(module.rows, module.cols)
            continue
        summed = isinstance(module, nn.LSTM | nn.RNN)
        for name, parameter in module._parameters.items():
            second = summed and name.startswith("bias_hh")
            if parameter is None or second or (module, name) in gone or id(parameter) in counted:
                continue
            counted.add(id(parameter))
            total += parameter.numel()
    return total
