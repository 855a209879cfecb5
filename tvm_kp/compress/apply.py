"""Compression of a model in place: layers stay, their weights become modules that make them.

While a layer runs, the multiplied-out weights stand where its parameters were, so that its own
``forward`` computes with them: interface, export and autograd are those of the layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from tvm_kp.compress.plans import COMPRESSED, Choice, Plan, Site, chosen, on_one_device
from tvm_kp.compress.recurrent_layer import RecurrentLayer
from tvm_kp.compress.weights import Weight, make
from tvm_kp.errors import InputError, ModelError


def apply(model: nn.Module, plan: Plan, start: Literal["nearest", "random"] = "nearest") -> None:
    """Gives the layers that ``plan`` names its forms, in place.

    Each keeps its class, interface and other parameters; the numbers of the form are parameters of
    its submodule ``compressed``. ``start`` "nearest" takes those that come nearest to the trained
    weights, to train on from; "random" draws new ones such that the multiplied-out weights have
    the variance of PyTorch's own initial values, to train from scratch.

    Pruned and doped weights choose their entries while training: ``fit`` does it, a loop of one's
    own calls ``anneal`` after every step.

    Raises ``ModelError``, and leaves the model as it is, for layers that are not there or are
    compressed already, for shapes that do not make the layer's, for weights that are not finite,
    and for parameters on several devices or on none; ``InputError`` for another ``start``.
    """
    if start not in ("nearest", "random"):
        raise InputError(f"start {start!r}; there are 'nearest' and 'random'")
    on_one_device(list(model.parameters()))
    made = [(site, _made(choice, site, start)) for choice, site in chosen(model, plan)]
    for site, weights in made:
        _replace(site, weights)


def apply_measured(
    model: nn.Module, plan: Plan, start: Literal["nearest", "random"] = "nearest"
) -> list[float]:
    """``apply``; returns the relative error (Frobenius) of the weights of every row of the plan."""
    before = [
        (site, torch.cat([site.layer.get_parameter(name).detach() for name in site.weights], 1))
        for _, site in chosen(model, plan)
    ]
    apply(model, plan, start)
    errors = []
    with torch.no_grad():
        for site, dense in before:
            made = cast(Compressed, site.layer.get_submodule(COMPRESSED))()
            change = torch.cat([made[name] for name in site.weights], 1) - dense
            errors.append(float(change.norm() / (dense.norm() or 1.0)))
    return errors


def anneal(model: nn.Module, done: float) -> None:
    """Chooses the entries of pruned and doped weights; ``done`` is the share of training so far.

    Between 10 % and 70 % of training ever fewer entries are kept, afterwards always the same.
    """
    for module in model.modules():
        if isinstance(module, Weight):
            module.anneal(done)


def compressed(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers, by name, that ``apply`` has changed."""
    for name, layer in model.named_modules():
        if is_compressed(layer):
            yield name, layer


def is_compressed(layer: nn.Module) -> bool:
    """Whether ``apply`` has changed this very layer."""
    return isinstance(getattr(layer, COMPRESSED, None), Compressed)


class Compressed(nn.ModuleDict):
    """What ``apply`` adds to a layer: a ``Weight`` for every one that was replaced.

    Keys are the names of the parameters that a weight stands for, joined by "-and-".
    """

    def forward(self) -> dict[str, Tensor]:
        """The multiplied-out weights by the names of the parameters they replace."""
        result: dict[str, Tensor] = {}
        for key, weight in self.items():
            names = key.split("-and-")
            whole = weight()
            if len(names) == 1:
                result[key] = whole
            else:
                widths = cast(Weight, weight).widths
                result |= dict(zip(names, whole.split(widths, 1), strict=True))
        return result


def _made(choice: Choice, site: Site, start: str) -> dict[str, Weight]:
    """The forms of ``choice`` by their names in ``Compressed``."""
    groups = [site.weights] if len(choice.forms) == 1 else [(name,) for name in site.weights]
    made = {}
    for names, (form, gates, rows, cols) in zip(groups, choice.blocks(site), strict=True):
        dense = torch.cat([site.layer.get_parameter(name) for name in names], 1)
        weight = make(form, gates, rows, cols, dense)
        weight.widths = [site.layer.get_parameter(name).shape[1] for name in names]
        if start == "random":
            weight.draw(_variance(site.layer))
        elif dense.isfinite().all():
            weight.assign(dense)
        else:
            raise ModelError(f"{' and '.join(names)} of {site.name} have NaN or infinite values")
        made["-and-".join(names)] = weight
    return made


def _replace(site: Site, weights: dict[str, Weight]) -> None:
    layer = site.layer
    for name in site.weights:
        delattr(layer, name)
    if COMPRESSED not in layer._modules:
        layer.add_module(COMPRESSED, Compressed())
        layer.register_forward_pre_hook(_before)
        layer.register_forward_hook(_after, always_call=True)
    cast(Compressed, layer.get_submodule(COMPRESSED)).update(weights)
    if isinstance(layer, nn.RNNBase):
        layer._init_flat_weights()


def _variance(layer: nn.Module) -> float:
    """Of the dense weight when PyTorch draws it: U(−k, k) with k² = 1/H, for nn.Linear 1/inputs."""
    if isinstance(layer, nn.Linear):
        return 1 / (3 * layer.in_features)
    if isinstance(layer, nn.RNNBase | RecurrentLayer):
        return 1 / (3 * layer.hidden_size)
    raise ModelError(f"{type(layer).__name__} cannot be compressed")


def _before(layer: nn.Module, _args: Any) -> None:
    """Puts multiplied-out weights where the parameters were."""
    weights = cast(Compressed, layer.get_submodule(COMPRESSED))()
    # Found before modules and parameters, and by RNNBase in its list of flat weights.
    layer.__dict__.update(weights)
    if isinstance(layer, nn.RNNBase):
        names = layer._flat_weights_names
        layer._flat_weights = [getattr(layer, name, None) for name in names]


def _after(layer: nn.Module, _args: object, _output: object) -> None:
    """Undoes ``_before``, also where running the layer failed."""
    for key in cast(Compressed, layer.get_submodule(COMPRESSED)):
        for name in key.split("-and-"):
            layer.__dict__.pop(name, None)
    if isinstance(layer, nn.RNNBase):
        names = layer._flat_weights_names
        layer._flat_weights = [getattr(layer, name, None) for name in names]
