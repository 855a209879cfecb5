"""An LSTM layer whose weights are Kronecker products, trained from scratch.

The forward pass multiplies the products out and calls PyTorch's own LSTM, so training is about
as fast as ``nn.LSTM``; an exported program keeps the ``aten.kron`` that feeds ``aten.lstm``.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, nn

from tvm_kp.errors import ModelError
from tvm_kp.kronecker import Factors, factor_shapes

_GATES = 4
_WEIGHTS = {"": "[W_ih | W_hh]", "_ih": "W_ih", "_hh": "W_hh"}


class KroneckerLSTM(nn.Module):
    """``nn.LSTM`` of one layer and one direction with one pair of factors a gate (i, f, g, o).

    [W_ih | W_hh] = [A_i ⊗ B_i; A_f ⊗ B_f; A_g ⊗ B_g; A_o ⊗ B_o], acting on [x; h]; with ``apart``
    W_ih and W_hh each have such pairs of their own. ``factors`` is ((m1, n1), (m2, n2)) with
    m1·m2 = hidden_size and n1·n2 = input_size + hidden_size, or, with ``apart``, one such for
    W_ih (n1·n2 = input_size) and one for W_hh (n1·n2 = hidden_size); left out, it is
    ``kronecker.factor_shapes`` of the sizes. Raises ``ModelError`` for factors that do not fit.

    Factors are the parameters ``a`` (4, m1, n1) and ``b`` (4, m2, n2), with ``apart`` ``a_ih``,
    ``b_ih``, ``a_hh`` and ``b_hh``. The ``bias`` (4·hidden_size) is one vector, where ``nn.LSTM``
    keeps two that only ever act as their sum.
    """

    a: Tensor
    b: Tensor
    a_ih: Tensor
    b_ih: Tensor
    a_hh: Tensor
    b_hh: Tensor
    bias: Tensor | None

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
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.apart, self.batch_first = apart, batch_first

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        for suffix, (shape_a, shape_b) in _shapes(input_size, hidden_size, factors, apart).items():
            self.register_parameter("a" + suffix, parameter(_GATES, *shape_a))
            self.register_parameter("b" + suffix, parameter(_GATES, *shape_b))
        self.register_parameter("bias", parameter(_GATES * hidden_size) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new parameters; the multiplied-out weights have the variance of ``nn.LSTM``'s.

        ``nn.LSTM`` draws from U(−k, k), k = 1/√H, of variance 1/(3H). Independent factors of zero
        mean give Var(a·b) = Var(a)·Var(b), so each takes the root of it: U(−s, s) with
        s²/3 = √(1/(3H)). The bias is drawn from U(−k, k).
        """
        spread = (3 / self.hidden_size) ** 0.25
        for name, parameter in self.named_parameters():
            bound = self.hidden_size**-0.5 if name == "bias" else spread
            nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``(y, (h_n, c_n))`` as ``nn.LSTM`` gives it.

        ``x`` is (T, N, input_size), with ``batch_first`` (N, T, input_size), or (T, input_size);
        each state of ``hx`` is (1, N, hidden_size) or (1, hidden_size), zeros if left out.
        """
        batch_axis = 0 if self.batch_first else 1
        if x.dim() == 2:
            states = None if hx is None else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
            y, (h, c) = self.forward(x.unsqueeze(batch_axis), states)
            return y.squeeze(batch_axis), (h.squeeze(1), c.squeeze(1))
        if hx is None:
            zeros = torch.zeros(
                1, x.size(batch_axis), self.hidden_size, dtype=x.dtype, device=x.device
            )
            hx = (zeros, zeros)
        weights = list(self.weights())
        if self.bias is not None:
            weights += [self.bias, torch.zeros_like(self.bias)]
        y, h, c = torch.lstm(
            x, hx, weights, self.bias is not None, 1, 0.0, self.training, False, self.batch_first
        )
        return y, (h, c)

    def weights(self) -> tuple[Tensor, Tensor]:
        """W_ih (4·hidden_size, input_size), W_hh (4·hidden_size, hidden_size), multiplied out."""
        if self.apart:
            return _product(self.a_ih, self.b_ih), _product(self.a_hh, self.b_hh)
        joint = _product(self.a, self.b)
        return joint[:, : self.input_size], joint[:, self.input_size :]

    @property
    def compression(self) -> float:
        """Parameters of the dense layer over those of this one, each with one bias vector."""
        bias = 0 if self.bias is None else self.bias.numel()
        dense = _GATES * self.hidden_size * (self.input_size + self.hidden_size)
        return (dense + bias) / sum(parameter.numel() for parameter in self.parameters())

    def extra_repr(self) -> str:
        shapes = ", ".join(
            f"{name}={'x'.join(map(str, parameter.shape[1:]))}"
            for name, parameter in self.named_parameters()
            if name != "bias"
        )
        return f"{self.input_size}, {self.hidden_size}, {shapes}, bias={self.bias is not None}"


def _product(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([torch.kron(a[gate], b[gate]) for gate in range(_GATES)])


def _shapes(
    input_size: int,
    hidden_size: int,
    factors: Factors | tuple[Factors, Factors] | None,
    apart: bool,
) -> dict[str, Factors]:
    """The shapes of A and B by the suffix of their parameters' names."""
    columns = {"_ih": input_size, "_hh": hidden_size}
    if not apart:
        columns = {"": input_size + hidden_size}
    defaults = {suffix: factor_shapes(hidden_size, cols) for suffix, cols in columns.items()}
    if factors is None:
        return defaults
    given: tuple[Any, ...] = tuple(factors) if apart else (factors,)
    if len(given) != len(defaults) or not all(map(_is_factors, given)):
        raise ModelError(
            f"factors {factors} are not {'a pair of ' if apart else ''}((m1, n1), (m2, n2)); "
            f"give for example {tuple(defaults.values()) if apart else defaults['']}"
        )
    for (suffix, default), ((m1, n1), (m2, n2)) in zip(defaults.items(), given, strict=True):
        if (m1 * m2, n1 * n2) != (hidden_size, columns[suffix]):
            raise ModelError(
                f"factors {m1}x{n1} and {m2}x{n2} make {m1 * m2}x{n1 * n2}, but each gate of "
                f"{_WEIGHTS[suffix]} is {hidden_size}x{columns[suffix]}; give factors with "
                f"m1*m2 = {hidden_size} and n1*n2 = {columns[suffix]}, for example {default}"
            )
    return dict(zip(defaults, given, strict=True))


def _is_factors(value: Any) -> bool:
    """Whether ``value`` is ((m1, n1), (m2, n2)) with sizes of at least 1."""
    try:
        (m1, n1), (m2, n2) = value
        return min(map(operator.index, (m1, n1, m2, n2))) > 0
    except (TypeError, ValueError):
        return False
