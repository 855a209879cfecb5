"""Which layers of a model get which forms, and what that comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from tvm_kp.compress.forms import Form
from tvm_kp.compress.recurrent_layer import RecurrentLayer
from tvm_kp.errors import ModelError

LAYERS = (nn.Linear, nn.RNNBase, RecurrentLayer)
COMPRESSED = "compressed"  # the submodule of a layer that has forms
KINDS = "nn.Linear, nn.LSTM, nn.GRU, nn.RNN, FastRNN, FastGRNN and ResetFirstGRU"


@dataclass(frozen=True)
class Site:
    """A matrix that can have a form: a linear layer's weight, or [W_ih | W_hh] of one recurrence.

    ``name`` is ``layer_name``, for one of several recurrences of a layer with PyTorch's suffix
    behind it: "rnn.l0_reverse". ``weights`` are the parameters' names, W_ih's first. ``rows`` are
    those of one gate, ``cols`` the columns of each of the ``weights``.
    """

    name: str
    layer_name: str
    layer: nn.Module
    weights: tuple[str, ...]
    gates: int
    rows: int
    cols: tuple[int, ...]

    @property
    def recurrent(self) -> bool:
        """Whether it is a recurrence's."""
        return len(self.weights) > 1

    @property
    def dense(self) -> int:
        """Numbers of the dense matrix."""
        return self.gates * self.rows * sum(self.cols)


@dataclass(frozen=True)
class Choice:
    """The ``forms`` of the matrix called ``site``: one, or two for W_ih and W_hh apart.

    All gates have them one by one, or with ``stacked`` as one matrix of gates·rows rows.
    """

    site: str
    forms: tuple[Form, ...]
    stacked: bool = False

    def blocks(self, site: Site) -> list[tuple[Form, int, int, int]]:
        """(form, gates, rows, columns) of every matrix; raises ``ModelError`` for wrong shapes."""
        gates, rows = (1, site.gates * site.rows) if self.stacked else (site.gates, site.rows)
        if len(self.forms) not in (1, len(site.weights)):
            raise ModelError(
                f"{len(self.forms)} forms for {self.site}, which has {len(site.weights)} weights; "
                "give one for all, or one for each"
            )
        cols = site.cols if len(self.forms) > 1 else (sum(site.cols),)
        names = site.weights if len(self.forms) > 1 else ("[" + " | ".join(site.weights) + "]",)
        for form, width, name in zip(self.forms, cols, names, strict=True):
            form.check(rows, width, f"{name} of {self.site}")
        return [(form, gates, rows, width) for form, width in zip(self.forms, cols, strict=True)]


@dataclass(frozen=True)
class Row:
    """A line of a plan's table; ``macs`` are those of one step, or of one call of a linear layer.

    ``compression`` is the dense matrix's numbers over ``parameters``, neither with the bias.
    """

    site: str
    form: str
    rank: int
    parameters: int
    compression: float
    macs: int
    dense_macs: int


@dataclass(frozen=True)
class Plan:
    """What ``apply`` does to a model."""

    choices: tuple[Choice, ...]

    def rows(self, model: nn.Module) -> list[Row]:
        """What every choice comes to in ``model``; raises ``ModelError`` if it does not fit."""
        return [_row(choice, site) for choice, site in chosen(model, self)]


def sites(model: nn.Module) -> dict[str, Site]:
    """All matrices of ``model`` that can have a form, by name."""
    found = (site for name, layer in model.named_modules() for site in _of_layer(name, layer))
    return {site.name: site for site in found}


def chosen(model: nn.Module, plan: Plan) -> list[tuple[Choice, Site]]:
    """Every choice of ``plan`` with its matrix; a layer's name stands for all of its recurrences.

    Raises ``ModelError`` for names that are not there, named twice, or shapes that do not fit.
    """
    known, result = sites(model), list[tuple[Choice, Site]]()
    for choice in plan.choices:
        meant = [site for name, site in known.items() if _is_in(name, choice.site, site)]
        if not meant:
            there = f"there are {', '.join(known)}" if known else f"these can be: {KINDS}"
            changed = _is_compressed(model, choice.site)
            what = "is compressed already" if changed else "is no layer to compress"
            raise ModelError(f"{choice.site!r} {what} in {_kind(model)}; {there}")
        for site in meant:
            if any(other is site for _, other in result):
                raise ModelError(f"{site.name} is planned twice; give each layer one choice")
            choice.blocks(site)
            result.append((choice, site))
    return result


def _is_in(name: str, given: str, site: Site) -> bool:
    return given in (name, site.layer_name)


def _of_layer(name: str, layer: nn.Module) -> list[Site]:
    # Where nn.MultiheadAttention reads its weight itself, nothing would put another one there.
    if isinstance(layer, NonDynamicallyQuantizableLinear):
        return []
    if isinstance(layer, nn.Linear) and "weight" in layer._parameters:
        return [Site(name, name, layer, ("weight",), 1, layer.out_features, (layer.in_features,))]
    if isinstance(layer, RecurrentLayer) and "weight_ih" in layer._parameters:
        return [_recurrence(name, layer, "")]
    if not isinstance(layer, nn.RNNBase):
        return []
    suffixes = [
        weight.removeprefix("weight_ih")
        for weight in layer._parameters
        if weight.startswith("weight_ih")
    ]
    return [_recurrence(name, layer, suffix) for suffix in suffixes]


def _recurrence(name: str, layer: nn.Module, suffix: str) -> Site:
    names = (f"weight_ih{suffix}", f"weight_hh{suffix}")
    shapes = [layer.get_parameter(weight).shape for weight in names]
    hidden = int(layer.hidden_size)  # type: ignore[arg-type]  # every recurrent layer has one
    several = isinstance(layer, nn.RNNBase) and layer.num_layers * (1 + layer.bidirectional) > 1
    own = ".".join(filter(None, (name, suffix[1:]))) if several else name
    cols = tuple(shape[1] for shape in shapes)
    return Site(own, name, layer, names, shapes[0][0] // hidden, hidden, cols)


def _row(choice: Choice, site: Site) -> Row:
    blocks = choice.blocks(site)
    parameters = sum(gates * form.parameters(rows, cols) for form, gates, rows, cols in blocks)
    text = ", ".join(str(form) for form in choice.forms) + (", all gates" if choice.stacked else "")
    return Row(
        site=site.name,
        form=text,
        rank=min(form.max_rank(rows, cols) for form, _, rows, cols in blocks),
        parameters=parameters,
        compression=site.dense / parameters,
        macs=sum(gates * form.macs(rows, cols) for form, gates, rows, cols in blocks),
        dense_macs=site.dense,
    )


def _is_compressed(model: nn.Module, name: str) -> bool:
    """Whether the layer or recurrence called ``name`` has forms."""
    layers = dict(model.named_modules())
    if name in layers:
        return isinstance(layers[name], LAYERS) and COMPRESSED in layers[name]._modules
    parent, _, suffix = name.rpartition(".")
    layer, weight = layers.get(parent), f"weight_ih_{suffix}"
    return (
        isinstance(layer, nn.RNNBase)
        and weight in layer._flat_weights_names
        and weight not in layer._parameters
    )


def _kind(model: nn.Module) -> str:
    return type(model).__name__


def on_one_device(parameters: Sequence[Tensor]) -> torch.device:
    """The device of all ``parameters``; raises ``ModelError`` for several, or for none real."""
    devices = {parameter.device for parameter in parameters}
    if not devices:
        raise ModelError("the model has no parameters: give one that has")
    if len(devices) != 1 or torch.device("meta") in devices:
        raise ModelError(
            f"the model's parameters are on {', '.join(sorted(map(str, devices)))}; move all of "
            'them to one device that holds numbers first, for example model.to("cpu")'
        )
    return devices.pop()
