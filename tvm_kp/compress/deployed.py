"""The weights that are deployed for those that are trained: rounded, by parameter."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from tvm_kp.compress.apply import COMPRESSED, Compressed, is_compressed
from tvm_kp.compress.kronecker_layer import KroneckerLayer
from tvm_kp.compress.layers import KroneckerGRU
from tvm_kp.compress.reset_first_gru import ResetFirstGRU
from tvm_kp.compress.rounding import round_factors, round_matrix
from tvm_kp.compress.weights import KroneckerWeight, PrunedWeight

RESETTING = (nn.GRU, KroneckerGRU, ResetFirstGRU)

Weights = dict[str, Tensor]


def rounded_weights(layer: nn.Module) -> Weights:
    """The weights that are deployed for those of ``layer``, by the names of its parameters.

    In float64, with no gradient. ``layer`` is of a kind that ``prepare`` knows.
    """
    named = {name: getattr(layer, name) for name, _ in layer.named_parameters(recurse=False)}
    if isinstance(layer, KroneckerLayer):
        return _factors(layer, named)
    if is_compressed(layer):
        return _of_forms(layer)
    if isinstance(layer, nn.Linear):
        return {"weight": round_matrix(named["weight"])}
    # An LSTM with a projection multiplies with that alone.
    result = {name: round_matrix(named[name]) for name in named if name.startswith("weight_hr")}
    for of_x in (name for name in named if name.startswith("weight_ih")):
        of_h = of_x.replace("_ih", "_hh")
        pair = named[of_x].detach(), named[of_h].detach()
        result[of_x], result[of_h] = _dense(layer, *pair)
    return result


def _dense(layer: nn.Module, w_ih: Tensor, w_hh: Tensor) -> tuple[Tensor, Tensor]:
    """W_ih and W_hh of a dense layer: a GRU's candidate is apart, or two products of its own."""
    hidden = int(layer.hidden_size)  # type: ignore[arg-type]  # every recurrent layer has one
    rows = [hidden * count for count in _gates(layer, len(w_ih) // hidden)]
    sizes = [w_ih.shape[1], w_hh.shape[1]]
    of_x, of_h = list[Tensor](), list[Tensor]()
    for part_x, part_h in zip(w_ih.split(rows), w_hh.split(rows), strict=True):
        if of_x and isinstance(layer, nn.GRU):
            part_x, part_h = round_matrix(part_x), round_matrix(part_h)
        else:
            part_x, part_h = round_matrix(torch.cat([part_x, part_h], 1)).split(sizes, 1)
        of_x.append(part_x)
        of_h.append(part_h)
    return torch.cat(of_x), torch.cat(of_h)


def _gates(layer: nn.Module, gates: int) -> list[int]:
    """How many gates are multiplied with together: the candidate of a GRU is apart."""
    return [gates - 1, 1] if isinstance(layer, RESETTING) else [gates]


def _factors(layer: KroneckerLayer, named: Weights) -> Weights:
    """The factors of every weight."""
    result: Weights = {}
    for suffix in ("_ih", "_hh") if layer.apart else ("",):
        names = "a" + suffix, "b" + suffix
        a, b = (named[name] for name in names)
        rounded = _product(layer, a, b, None if layer.apart else layer.input_size)
        result |= dict(zip(names, rounded, strict=True))
    return result


def _product(layer: nn.Module, a: Tensor, b: Tensor, inputs: int | None) -> tuple[Tensor, Tensor]:
    """Factors (gates, m, n), those of a GRU's candidate apart from the other gates'.

    ``inputs`` are the columns of W_ih if W_hh has the same factors.
    """
    groups = _gates(layer, len(a))
    widths = [[a.shape[2]], _candidate(layer, a.shape[2], b.shape[2], inputs)][: len(groups)]
    parts = zip(a.split(groups), b.split(groups), widths, strict=True)
    of_a, of_b = zip(*(round_factors(*part) for part in parts), strict=True)
    return torch.cat(of_a), torch.cat(of_b)


def _candidate(layer: nn.Module, n1: int, n2: int, inputs: int | None) -> list[int]:
    """The widths of the parts of a candidate's A (m1, n1) that make products of their own."""
    after = isinstance(layer, nn.GRU) or getattr(layer, "reset_after", False)
    if inputs is None or not after or inputs % n2:
        return [n1]
    return [inputs // n2, n1 - inputs // n2]


def _of_forms(layer: nn.Module) -> Weights:
    """The numbers of the forms that ``apply`` gave a layer."""
    result: Weights = {}
    inner = cast(Compressed, layer.get_submodule(COMPRESSED))
    for key, weight in inner.items():
        name = f"{COMPRESSED}.{key}."
        if isinstance(weight, KroneckerWeight):
            factors = weight.a.detach()[0], weight.b.detach()[0]
            a, b = _product(layer, *factors, weight.widths[0] if "-and-" in key else None)
            result |= {name + "a": a[None], name + "b": b[None]}
    pruned = {key: weight for key, weight in inner.items() if isinstance(weight, PrunedWeight)}
    if pruned:
        rounded = _pruned(layer, {name: w.detach() for name, w in inner().items()})
        for key, weight in pruned.items():
            whole = torch.cat([rounded[name] for name in key.split("-and-")], 1)
            kept = torch.where(weight.mask, whole.view_as(weight.dense), weight.dense.detach())
            result[f"{COMPRESSED}.{key}.dense"] = kept
    return result


def _pruned(layer: nn.Module, weights: Weights) -> Weights:
    """Weights with zeros, rounded as dense ones."""
    result: Weights = {}
    for name in weights:
        if "_ih" in name:
            of_h = name.replace("_ih", "_hh")
            result[name], result[of_h] = _dense(layer, weights[name], weights[of_h])
        elif "_hh" not in name:
            result[name] = round_matrix(weights[name])
    return result
