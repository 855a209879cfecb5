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
from torch.func import functional_call

from tvm_kp.compress.apply import COMPRESSED, Compressed, compressed, is_compressed
from tvm_kp.compress.deployed import RESETTING, rounded_weights
from tvm_kp.compress.forms import Kronecker, Pruned
from tvm_kp.compress.layers import KroneckerLSTM, KroneckerRNN
from tvm_kp.compress.recurrent_layer import RecurrentLayer
from tvm_kp.compress.rounding import (
    BITS,
    ActivationGrid,
    straight_through,
)
from tvm_kp.compress.weights import KroneckerWeight
from tvm_kp.errors import InputError, ModelError

_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN, RecurrentLayer)
_LAYERS = (nn.Linear, *_RECURRENT)
_OF_GATES_ALONE = (nn.LSTM, nn.RNN, KroneckerLSTM, KroneckerRNN)
_NAME = "fake_quantizer"
_LISTED = "nn.Linear, nn.LSTM, nn.GRU, nn.RNN and the recurrent layers of tvm_kp.compress"


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

    Layers that ``apply`` has changed may be pruned or have single products of two factors: the
    deployed numbers of other forms are not those that are trained.

    Raises ``InputError`` for other numbers of bits, and ``ModelError`` for a model without such
    layers, prepared before, or with other forms.
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
    for name, layer in compressed(model):
        _check_forms(name, layer)
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


class FakeQuantizer(nn.Module):
    """What ``prepare`` adds to a layer: its hooks, and the grids of x and h."""

    def __init__(self, layer: nn.Module, activations: bool) -> None:
        super().__init__()
        recurrent = isinstance(layer, _RECURRENT)
        # Where one product reads both, x and h are joined. h' is made of h in all but these.
        self._joined = recurrent and not _is_apart(layer)
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
        result: dict[str, Any] = {}
        for name, weight in rounded_weights(layer).items():
            trained = layer.get_parameter(name)
            result[name] = straight_through(trained, weight.to(trained.dtype))
        if is_compressed(layer):
            inside = {name.removeprefix(f"{COMPRESSED}."): value for name, value in result.items()}
            result = functional_call(layer.get_submodule(COMPRESSED), inside, ())
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
        layer._flat_weights = [weights.get(name, getattr(layer, name, None)) for name in names]
    else:
        # Found before parameters and methods, which stay what they are.
        layer.__dict__.update(quantizer.replaced(layer))
    return (*map(quantizer.take, args[:1]), *args[1:]), kwargs


def _after(layer: nn.Module, _: object, output: Any) -> Any:
    """Undoes ``_before``, also where running the layer failed: ``output`` is None then."""
    if isinstance(layer, nn.RNNBase):
        # Of a compressed layer the weights are no parameters, and gone by now.
        names = layer._flat_weights_names
        layer._flat_weights = [getattr(layer, name, None) for name in names]
    else:
        for name in ("stored", *layer._parameters):
            layer.__dict__.pop(name, None)
    return _quantizer(layer).give(output)


def _quantizer(layer: nn.Module) -> FakeQuantizer:
    return cast(FakeQuantizer, layer.get_submodule(_NAME))


def _is_apart(layer: nn.Module) -> bool:
    """Whether no product of the layer reads both x and h."""
    inner = getattr(layer, COMPRESSED, ())
    products = [key for key in inner if isinstance(inner[key], KroneckerWeight)]
    return getattr(layer, "apart", False) or any("-and-" not in key for key in products)


def _check_forms(name: str, layer: nn.Module) -> None:
    forms = [weight.form for weight in cast(Compressed, layer.get_submodule(COMPRESSED)).values()]
    single = [isinstance(f, Kronecker) and f == Kronecker(f.factors[:2]) for f in forms]
    stacked = isinstance(layer, RESETTING) and any(
        weight.gates == 1 for weight in layer.get_submodule(COMPRESSED).children()
    )
    if stacked or not (all(single) or all(isinstance(form, Pruned) for form in forms)):
        raise ModelError(
            f"{name} has the weights {', '.join(map(str, forms))}; single products of two factors "
            "of each gate, and pruned weights, can be trained as integers: compile others with "
            "quantize and calibration as they are"
        )


def _prepared(model: nn.Module) -> Iterator[tuple[nn.Module, FakeQuantizer]]:
    for layer in model.modules():
        quantizer = getattr(layer, _NAME, None)
        if isinstance(quantizer, FakeQuantizer):
            yield layer, quantizer
