"""Training with the weights and activations that the model has once it is deployed in integers.

While a layer runs, its weights are replaced by rounded ones, whose gradients go to the parameters
as if nothing were rounded. Parameters stay what and where they are: optimizers, ``state_dict``
and ``torch.export`` see no difference but the ranges of activations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from tvm_kp.compress.apply import compressed
from tvm_kp.compress.kronecker_layer import KroneckerLayer
from tvm_kp.compress.layers import KroneckerGRU, KroneckerLSTM, KroneckerRNN
from tvm_kp.compress.recurrent_layer import RecurrentLayer
from tvm_kp.compress.rounding import (
    BITS,
    ActivationGrid,
    round_factors,
    round_matrix,
    straight_through,
)
from tvm_kp.errors import InputError, ModelError

_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN, RecurrentLayer)
_LAYERS = (nn.Linear, *_RECURRENT)
_OF_GATES_ALONE = (nn.LSTM, nn.RNN, KroneckerLSTM, KroneckerRNN)
_NAME = "fake_quantizer"
_LISTED = "nn.Linear, nn.LSTM, nn.GRU, nn.RNN and the recurrent layers of tvm_kp.compress"

Weights = dict[str, Tensor]


def prepare(model: nn.Module, bits: int = BITS, activations: int = BITS) -> None:
    """Gives ``model`` fake quantization, in place: train it on, then ``freeze`` it.

    Rounds the weights and factors of every ``nn.Linear``, ``nn.LSTM``, ``nn.GRU``, ``nn.RNN`` and
    recurrent layer of this folder to ``bits``, 8, on the grid of ``Options(quantize=...)``:
    [W_ih | W_hh] is one matrix, but for the candidate of a GRU that resets after the product.

    With ``activations`` 8, for "int8", also what recurrent layers read is rounded, x and the
    state h, or in a model without them the inputs of linear layers. In ``nn.LSTM``, ``nn.GRU``,
    ``nn.RNN``, ``KroneckerLSTM``, ``KroneckerRNN`` and ``KroneckerGRU``, where one operator of
    PyTorch runs all steps, h is rounded for later layers only, not from step to step; it is in
    the FastRNN kinds and ``KroneckerGRU(reset_after=False)``. Ranges are the largest magnitudes
    seen in training mode, the buffers ``fake_quantizer.input.largest`` and ``….hidden.largest``
    of each layer. With 16, for "int16x8", activations stay floats.

    Not exact: factors that are deployed multiplied out because they save nothing; joint factors
    of ``KroneckerGRU(reset_after=True)`` where a column of A reads both x and h; weights some
    2**-24 of what they are added to.

    Raises ``InputError`` for other numbers of bits, and ``ModelError`` for a model without such
    layers, prepared before, or with layers that ``apply`` has changed.
    """
    if bits != BITS:
        raise InputError(f"bits is {bits}; weights are deployed with {BITS}")
    if activations not in (8, 16):
        raise InputError(f"activations is {activations}; there are 8 (int8) and 16 (int16x8)")
    layers = [layer for layer in model.modules() if isinstance(layer, _LAYERS)]
    if not layers:
        raise ModelError(f"{type(model).__name__} has no layer to quantize; these are {_LISTED}")
    if next(_prepared(model), None) is not None:
        raise ModelError(f"{type(model).__name__} is prepared already; train it, then freeze it")
    if (changed := next(compressed(model), None)) is not None:
        raise ModelError(
            f"{changed[0]} has compressed weights, which are trained as floats: compile the model "
            "with quantize and calibration, or use a layer such as KroneckerLSTM instead"
        )
    # What a linear layer reads of a recurrent one has been rounded as that one's state.
    recurrent = any(isinstance(layer, _RECURRENT) for layer in layers)
    for layer in layers:
        rounds = activations == BITS and (isinstance(layer, _RECURRENT) or not recurrent)
        layer.add_module(_NAME, FakeQuantizer(layer, rounds))


def freeze(model: nn.Module) -> None:
    """Writes the rounded weights into the parameters and ends fake quantization, in place.

    Rounding them again when the model is deployed gives the same integers: the largest weight of
    every scale is 127 steps. Raises ``ModelError`` for a model that is not prepared.
    """
    prepared = list(_prepared(model))
    if not prepared:
        raise ModelError(f"{type(model).__name__} has no fake quantization; prepare it first")
    with torch.no_grad():
        for layer, quantizer in prepared:
            for name, weight in rounded_weights(layer).items():
                layer.get_parameter(name).copy_(weight)
            quantizer.remove()
            delattr(layer, _NAME)


def rounded_weights(layer: nn.Module) -> Weights:
    """The weights that are deployed for those of ``layer``, by the names of its parameters.

    In float64, with no gradient. ``layer`` is of a kind that ``prepare`` knows.
    """
    named = {name: getattr(layer, name) for name, _ in layer.named_parameters(recurse=False)}
    if isinstance(layer, KroneckerLayer):
        return _factors(layer, named)
    if isinstance(layer, nn.Linear):
        return {"weight": round_matrix(named["weight"])}
    # An LSTM with a projection multiplies with that alone.
    result = {name: round_matrix(named[name]) for name in named if name.startswith("weight_hr")}
    for of_x in (name for name in named if name.startswith("weight_ih")):
        of_h = of_x.replace("_ih", "_hh")
        pair = named[of_x].detach(), named[of_h].detach()
        result[of_x], result[of_h] = _dense(*pair, apart=isinstance(layer, nn.GRU))
    return result


class FakeQuantizer(nn.Module):
    """What ``prepare`` adds to a layer: its hooks, and the grids of x and h."""

    def __init__(self, layer: nn.Module, activations: bool) -> None:
        super().__init__()
        recurrent = isinstance(layer, _RECURRENT)
        # Where one product reads both, x and h are joined. h' is made of h in all but these.
        self._joined = recurrent and not getattr(layer, "apart", False)
        pointwise = recurrent and not isinstance(layer, _OF_GATES_ALONE)
        self._loops = isinstance(layer, RecurrentLayer) and layer.loops
        self.input = ActivationGrid(self._joined and pointwise) if activations else None
        self.hidden = ActivationGrid(pointwise) if activations and recurrent else None
        self._handles = [
            layer.register_forward_pre_hook(_before, with_kwargs=True),
            layer.register_forward_hook(_after, always_call=True),
        ]

    def replaced(self, layer: nn.Module) -> dict[str, Any]:
        """What stands in for attributes of ``layer`` while it runs, weights with gradients."""
        named = {name: getattr(layer, name) for name in layer._parameters}
        result: dict[str, Any] = {
            name: straight_through(named[name], weight.to(named[name].dtype))
            for name, weight in rounded_weights(layer).items()
        }
        return result | ({"stored": self.hidden} if self.hidden and self._loops else {})

    def take(self, x: Any) -> Any:
        """An input, rounded if it is a tensor of floats."""
        if self.input is None or not isinstance(x, Tensor) or not x.is_floating_point():
            return x
        return self.input(x, self.hidden if self._joined else None)

    def give(self, output: Any) -> Any:
        """What an operator of PyTorch computed, (y, h) or (y, (h, c)), with h rounded."""
        grid, loops = self.hidden, self._loops
        if grid is None or loops or output is None or not isinstance(output[0], Tensor):
            return output
        y, last = output
        beside = self.input if self._joined else None
        h, *others = last if isinstance(last, tuple) else (last,)
        y, h = grid(y, beside), grid(h, beside)
        return y, ((h, *others) if others else h)

    def remove(self) -> None:
        """Takes the hooks away."""
        for handle in self._handles:
            handle.remove()


def _before(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Puts rounded weights in place of the parameters, and rounds the input."""
    quantizer = _quantizer(layer)
    if isinstance(layer, nn.RNNBase):
        layer._update_flat_weights()  # it does so itself when it runs, and would undo ours
        weights, names = quantizer.replaced(layer), layer._flat_weights_names
        layer._flat_weights = [weights.get(name, getattr(layer, name)) for name in names]
    else:
        # Found before parameters and methods, which stay what they are.
        layer.__dict__.update(quantizer.replaced(layer))
    return (*map(quantizer.take, args[:1]), *args[1:]), kwargs


def _after(layer: nn.Module, _: object, output: Any) -> Any:
    """Undoes ``_before``, also where running the layer failed: ``output`` is None then."""
    if isinstance(layer, nn.RNNBase):
        layer._flat_weights = [getattr(layer, name) for name in layer._flat_weights_names]
    else:
        for name in ("stored", *layer._parameters):
            layer.__dict__.pop(name, None)
    return _quantizer(layer).give(output)


def _quantizer(layer: nn.Module) -> FakeQuantizer:
    return cast(FakeQuantizer, layer.get_submodule(_NAME))


def _dense(w_ih: Tensor, w_hh: Tensor, apart: bool) -> tuple[Tensor, Tensor]:
    """W_ih and W_hh of a dense layer; with ``apart`` the last of three gates is two products."""
    joint = 2 * len(w_ih) // 3 if apart else len(w_ih)
    sizes = [w_ih.shape[1], w_hh.shape[1]]
    of_x, of_h = round_matrix(torch.cat([w_ih[:joint], w_hh[:joint]], 1)).split(sizes, 1)
    if not apart:
        return of_x, of_h
    alone = round_matrix(w_ih[joint:]), round_matrix(w_hh[joint:])
    return torch.cat([of_x, alone[0]]), torch.cat([of_h, alone[1]])


def _factors(layer: KroneckerLayer, named: Weights) -> Weights:
    """The factors of every weight, those of a GRU's candidate apart from the other gates'."""
    result: Weights = {}
    for suffix in ("_ih", "_hh") if layer.apart else ("",):
        a, b = named["a" + suffix], named["b" + suffix]
        groups, widths = [len(a)], [[a.shape[2]]]
        if isinstance(layer, KroneckerGRU):
            groups = [2, 1]
            widths.append(_candidate(layer, a.shape[2], b.shape[2]))
        parts = zip(a.split(groups), b.split(groups), widths, strict=True)
        rounded = [round_factors(*part) for part in parts]
        of_a, of_b = (torch.cat(side) for side in zip(*rounded, strict=True))
        result |= {"a" + suffix: of_a, "b" + suffix: of_b}
    return result


def _candidate(layer: KroneckerGRU, n1: int, n2: int) -> list[int]:
    """The widths of the parts of a candidate's A (m1, n1) that make products of their own."""
    if layer.apart or not layer.reset_after or layer.input_size % n2:
        return [n1]
    return [layer.input_size // n2, n1 - layer.input_size // n2]


def _prepared(model: nn.Module) -> Iterator[tuple[nn.Module, FakeQuantizer]]:
    for layer in model.modules():
        quantizer = getattr(layer, _NAME, None)
        if isinstance(quantizer, FakeQuantizer):
            yield layer, quantizer
