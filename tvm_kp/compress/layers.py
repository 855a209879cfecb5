"""PyTorch's own recurrent layers, and a GRU that resets first, with Kronecker products as weights.

Where PyTorch has an operator for the recurrence, it is called with the products multiplied out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tvm_kp.compress.kronecker_layer import KroneckerLayer
from tvm_kp.compress.recurrent_layer import States
from tvm_kp.compress.reset_first_gru import reset_first
from tvm_kp.errors import ModelError
from tvm_kp.kronecker import Factors


class _Fused(KroneckerLayer):
    """A layer that one of PyTorch's recurrent operators computes."""

    loops = False

    def _call(self, run: Callable[..., Any], x: Tensor, hx: Tensor | States) -> Any:
        weights = [*self.weights(), *self._bias_pair()]
        options = (self.bias is not None, 1, 0.0, self.training, False, self.batch_first)
        return run(x, hx, weights, *options)

    def _bias_pair(self) -> tuple[Tensor, ...]:
        """b_ih and b_hh, nothing without bias; only their sum matters, but for the GRU's n."""
        return () if self.bias is None else (self.bias, torch.zeros_like(self.bias))


class KroneckerLSTM(_Fused):
    """``nn.LSTM`` of one layer and one direction with one pair of factors a gate (i, f, g, o).

    Factors and their parameters are those of ``KroneckerLayer``, G = 4. The ``bias``
    (4·hidden_size) is one vector, where ``nn.LSTM`` keeps two that only ever act as their sum.
    """

    _gates = 4
    _biases = 4
    _states = 2

    def forward(  # type: ignore[override]  # a pair of states, as nn.LSTM has it
        self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``(y, (h_n, c_n))`` as ``nn.LSTM`` gives it.

        ``x`` is (T, N, input_size), with ``batch_first`` (N, T, input_size), or (T, input_size);
        each state of ``hx`` is (1, N, hidden_size) or (1, hidden_size), zeros if left out.
        """
        y, (h, c) = self._batched(x, hx)
        return y, (h, c)

    def _run(self, x: Tensor, states: States) -> tuple[Tensor, States]:
        y, h, c = self._call(torch.lstm, x, states)
        return y, (h, c)


class KroneckerRNN(_Fused):
    """``nn.RNN`` of one layer and one direction: h' = tanh(W_ih x + W_hh h + b), or with relu.

    Factors and their parameters are those of ``KroneckerLayer``, G = 1; the ``bias``
    (hidden_size) is the sum of ``nn.RNN``'s two. Raises ``ModelError`` for a ``nonlinearity``
    other than "tanh" and "relu".
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        factors: Factors | tuple[Factors, Factors] | None = None,
        apart: bool = False,
        bias: bool = True,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        nonlinearity: str = "tanh",
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ModelError(f"nonlinearity {nonlinearity!r}; there are 'tanh' and 'relu'")
        super().__init__(input_size, hidden_size, factors, apart, bias, batch_first, device, dtype)
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, nonlinearity={self.nonlinearity}"

    def _run(self, x: Tensor, states: States) -> tuple[Tensor, States]:
        run = torch.rnn_tanh if self.nonlinearity == "tanh" else torch.rnn_relu
        y, h = self._call(run, x, states[0])
        return y, (h,)


class KroneckerGRU(_Fused):
    """A GRU of one layer and one direction with one pair of factors a gate (r, z, n).

    r = σ(W_r [x; h] + b_r), z = σ(W_z [x; h] + b_z), h' = (1 − z) ∘ n + z ∘ h, and the candidate

    - ``reset_after``, as ``nn.GRU``: n = tanh(W_in x + b_in + r ∘ (W_hn h + b_hn)), of two
      products, so factors are ``apart`` unless asked for jointly (a candidate with joint factors
      costs one more column of A), and the ``bias`` (4·hidden_size) is r, z, in, hn;
    - otherwise, as Cho et al. 2014 (arXiv 1406.1078): n = tanh(W_n [x; r ∘ h] + b_n), factors
      joint unless ``apart``, and the ``bias`` (3·hidden_size) is r, z, n.

    Factors and their parameters are those of ``KroneckerLayer``, G = 3.
    """

    _gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        factors: Factors | tuple[Factors, Factors] | None = None,
        apart: bool | None = None,
        bias: bool = True,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        reset_after: bool = True,
    ) -> None:
        apart = reset_after if apart is None else apart
        self.reset_after, self._biases = reset_after, 4 if reset_after else 3
        super().__init__(input_size, hidden_size, factors, apart, bias, batch_first, device, dtype)
        self.loops = not reset_after

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, reset_after={self.reset_after}"

    def _run(self, x: Tensor, states: States) -> tuple[Tensor, States]:
        if not self.reset_after:
            step = reset_first(*self.weights(), self.bias)
            return self._loop(x, states, step)
        y, h = self._call(torch.gru, x, states[0])
        return y, (h,)

    def _bias_pair(self) -> tuple[Tensor, ...]:
        if self.bias is None:
            return ()
        b_ih, b_hn = self.bias.split([3 * self.hidden_size, self.hidden_size])
        return b_ih, torch.cat([torch.zeros_like(b_ih[self.hidden_size :]), b_hn])
