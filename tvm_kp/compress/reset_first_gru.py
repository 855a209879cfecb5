"""The GRU of Cho et al. 2014 (arXiv 1406.1078), whose reset comes before the product with h."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tvm_kp.compress.recurrent_layer import DenseLayer, States, affine


class ResetFirstGRU(DenseLayer):
    """r = σ(W_r [x; h] + b_r), z = σ(W_z [x; h] + b_z), n = tanh(W_n [x; r ∘ h] + b_n),
    h' = (1 − z) ∘ n + z ∘ h.

    ``nn.GRU`` resets after the product, and so needs two for n. Parameters are ``weight_ih``
    (3·hidden_size, input_size), ``weight_hh`` (3·hidden_size, hidden_size) and ``bias``
    (3·hidden_size), in the order r, z, n.
    """

    _gates = 3
    _biases = 3

    def _run(self, x: Tensor, states: States) -> tuple[Tensor, States]:
        return self._loop(x, states, reset_first(*self.weights(), self.bias))


def reset_first(
    w_ih: Tensor, w_hh: Tensor, bias: Tensor | None
) -> Callable[[Tensor, Tensor], Tensor]:
    """The step (x_t, h) -> h' with the weights of ``ResetFirstGRU``."""
    hidden = w_hh.shape[1]
    split = [2 * hidden, hidden]
    (ih_rz, ih_n), (hh_rz, hh_n) = w_ih.split(split), w_hh.split(split)
    b_rz, b_n = (None, None) if bias is None else bias.split(split)

    def step(x_t: Tensor, h: Tensor) -> Tensor:
        gates = torch.sigmoid(affine(x_t, h, ih_rz, hh_rz, b_rz))
        r, z = gates.chunk(2, 1)
        n = torch.tanh(affine(x_t, r * h, ih_n, hh_n, b_n))
        return n + z * (h - n)

    return step
