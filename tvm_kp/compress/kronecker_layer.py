"""Weights of recurrent layers as one pair of Kronecker factors a gate, trained from scratch.

The products are multiplied out once a forward pass, so training is about as fast as that of the
dense layer; an exported program keeps the ``aten.kron`` that feeds the recurrence.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from tvm_kp.compress.recurrent_layer import RecurrentLayer
from tvm_kp.errors import ModelError
from tvm_kp.kronecker import Factors, factor_shapes

_FACTORS = ("a", "b", "a_ih", "b_ih", "a_hh", "b_hh")
_WEIGHTS = {"": "[W_ih | W_hh]", "_ih": "W_ih", "_hh": "W_hh"}


class KroneckerLayer(RecurrentLayer):
    """A recurrent layer whose [W_ih | W_hh] is [A_1 ⊗ B_1; …; A_G ⊗ B_G], one pair a gate.

    With ``apart`` W_ih and W_hh each have such pairs of their own. ``factors`` is
    ((m1, n1), (m2, n2)) with m1·m2 = hidden_size and n1·n2 = input_size + hidden_size, or, with
    ``apart``, one such for W_ih (n1·n2 = input_size) and one for W_hh (n1·n2 = hidden_size);
    left out, it is ``kronecker.factor_shapes`` of the sizes. Raises ``ModelError`` for factors
    that do not fit.

    Factors are the parameters ``a`` (G, m1, n1) and ``b`` (G, m2, n2), with ``apart`` ``a_ih``,
    ``b_ih``, ``a_hh`` and ``b_hh``. Subclasses set G.
    """

    _gates: int = 1

    a: Tensor
    b: Tensor
    a_ih: Tensor
    b_ih: Tensor
    a_hh: Tensor
    b_hh: Tensor

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
        shapes: dict[str, tuple[int, ...]] = {}
        for suffix, (of_a, of_b) in _shapes(input_size, hidden_size, factors, apart).items():
            shapes["a" + suffix] = (self._gates, *of_a)
            shapes["b" + suffix] = (self._gates, *of_b)
        super().__init__(input_size, hidden_size, shapes, bias, batch_first, device, dtype)
        self.apart = apart

    def weights(self) -> tuple[Tensor, Tensor]:
        """W_ih (G·hidden_size, input_size), W_hh (G·hidden_size, hidden_size), multiplied out."""
        if self.apart:
            return _product(self.a_ih, self.b_ih), _product(self.a_hh, self.b_hh)
        joint = _product(self.a, self.b)
        return joint[:, : self.input_size], joint[:, self.input_size :]

    @property
    def compression(self) -> float:
        """Parameters of the dense layer over those of this one, with the same biases."""
        sizes = {name: parameter.numel() for name, parameter in self.named_parameters()}
        kept = sum(size for name, size in sizes.items() if name not in _FACTORS)
        dense = self._gates * self.hidden_size * (self.input_size + self.hidden_size)
        return (dense + kept) / sum(sizes.values())

    def extra_repr(self) -> str:
        shapes = (
            f"{name}={'x'.join(map(str, parameter.shape[1:]))}"
            for name, parameter in self.named_parameters()
            if name in _FACTORS
        )
        sizes, _, bias = super().extra_repr().rpartition(", ")
        return ", ".join([sizes, *shapes, bias])

    def _bound(self, name: str) -> float:
        """s of U(−s, s) such that the multiplied-out weights have the dense layer's variance.

        U(−k, k) with k = 1/√H has the variance 1/(3H). Independent factors of zero mean give
        Var(a·b) = Var(a)·Var(b), so each takes the root of it: s²/3 = √(1/(3H)).
        """
        return (3 / self.hidden_size) ** 0.25 if name in _FACTORS else super()._bound(name)


def _product(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([torch.kron(a[gate], b[gate]) for gate in range(len(a))])


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
