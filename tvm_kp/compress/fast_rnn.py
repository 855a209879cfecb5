"""FastRNN and FastGRNN, dense and with Kronecker products as weights.

Kusupati, Singh, Bhatia, Kumar, Jain, Varma, "FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte
Sized Gated Recurrent Neural Network", NeurIPS 2018 (arXiv 1901.02358). The scalars are sigmoids
of trained numbers; where these and the biases start is as in the authors' code
(microsoft/EdgeML, ``FastRNNCell`` and ``FastGRNNCell``). Weights are drawn as by ``nn.RNN``.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from tvm_kp.compress.kronecker_layer import KroneckerLayer
from tvm_kp.compress.recurrent_layer import DenseLayer, RecurrentLayer, States, affine


class _Fast(RecurrentLayer):
    """Biases start from 1."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.bias is not None:
            nn.init.ones_(self.bias)


class _FastRNN(_Fast):
    _scalars: ClassVar = {"alpha": -3.0, "beta": 3.0}

    alpha: Tensor
    beta: Tensor

    def _run(self, x: Tensor, states: States) -> tuple[Tensor, States]:
        w_ih, w_hh = self.weights()
        alpha, beta = self.alpha.sigmoid(), self.beta.sigmoid()

        def step(x_t: Tensor, h: Tensor) -> Tensor:
            candidate = torch.tanh(affine(x_t, h, w_ih, w_hh, self.bias))
            return alpha * candidate + beta * h

        return self._loop(x, states, step)


class _FastGRNN(_Fast):
    _biases = 2
    _scalars: ClassVar = {"zeta": 1.0, "nu": -4.0}

    zeta: Tensor
    nu: Tensor

    def _run(self, x: Tensor, states: States) -> tuple[Tensor, States]:
        w_ih, w_hh = self.weights()
        zeta, nu = self.zeta.sigmoid(), self.nu.sigmoid()
        biases = None if self.bias is None else self.bias.chunk(2)

        def step(x_t: Tensor, h: Tensor) -> Tensor:
            product = affine(x_t, h, w_ih, w_hh, None)
            of_z, of_h = (product + b for b in biases) if biases else (product, product)
            z = torch.sigmoid(of_z)
            return (zeta * (1.0 - z) + nu) * torch.tanh(of_h) + z * h

        return self._loop(x, states, step)


class FastRNN(_FastRNN, DenseLayer):
    """h̃ = tanh(W_ih x + W_hh h + b), h' = σ(alpha) h̃ + σ(beta) h.

    Parameters are ``weight_ih`` (hidden_size, input_size), ``weight_hh`` (hidden_size,
    hidden_size), ``bias`` (hidden_size), ``alpha`` (1) from −3 and ``beta`` (1) from 3: the
    state changes slowly at first.
    """


class FastGRNN(_FastGRNN, DenseLayer):
    """z = σ(W_ih x + W_hh h + b_z), h̃ = tanh(W_ih x + W_hh h + b_h): one product for both;
    h' = (σ(zeta) (1 − z) + σ(nu)) ∘ h̃ + z ∘ h.

    Parameters are ``weight_ih`` (hidden_size, input_size), ``weight_hh`` (hidden_size,
    hidden_size), ``bias`` (2·hidden_size), b_z then b_h, ``zeta`` (1) from 1 and ``nu`` (1)
    from −4.
    """


class KroneckerFastRNN(_FastRNN, KroneckerLayer):
    """``FastRNN`` with the factors and parameters of ``KroneckerLayer``, G = 1, as weights."""


class KroneckerFastGRNN(_FastGRNN, KroneckerLayer):
    """``FastGRNN`` with the factors and parameters of ``KroneckerLayer``, G = 1, as weights.

    Gate and candidate share the one pair of factors, or with ``apart`` the two.
    """
