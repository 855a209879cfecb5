"""PyTorch tensors on the grids of the deployed model, with gradients as if nothing were rounded.

The grid of weights is ``fixedpoint.quantize_weights``'s, here without leaving PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tvm_kp import fixedpoint, kronecker

BITS = 8
_LARGEST = fixedpoint.limits(BITS)[1]
_RANGE_STEPS = 1 << 10  # a range is rounded up to 10 bits
_TINY = 1e-9  # what a logarithm may be off


def straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    """``rounded``, exactly, with the gradient going to ``x``, of the same shape."""
    return rounded.detach() + (x - x.detach())


def integers(w: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (…, rows, columns) -> q of the same shape and a scale that broadcasts, float64.

    Those of ``fixedpoint.quantize_weights``: a scale for every matrix, or where that pays for
    every row.
    """
    w = w.detach().double()
    (q, scale), (q_rows, rows) = (_shared(w, axes) for axes in ((-2, -1), (-1,)))
    errors = [((one * of - w) ** 2).sum() for one, of in ((q, scale), (q_rows, rows))]
    pays = errors[1] < fixedpoint.ROWS_PAY * errors[0]
    return torch.where(pays, q_rows, q), torch.where(pays, rows, scale)


def round_matrix(w: Tensor) -> Tensor:
    """The weights (…, rows, columns) that are deployed for ``w``, float64."""
    q, scale = integers(w)
    return q * scale


def round_factors(a: Tensor, b: Tensor, columns: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The factors that are deployed for A (gates, m1, n1) and B (gates, m2, n2), float64.

    They are found in the products, of equal norm; where A is multiplied first, those of all gates
    stand above each other and are one matrix. ``columns`` are the widths of the parts of A that
    make products of their own.
    """
    a, b = a.detach().double(), b.detach().double()
    balance = _ratio(_norm(b), _norm(a)).sqrt()
    parts = [_round_left(part, b) for part in (a * balance).split(list(columns), 2)]
    left, right = torch.cat(parts, 2), round_matrix(b / balance)
    # Rounded they must be of equal norm, else the gates of A had not one scale when found again.
    right = right * _ratio(_norm(left), _norm(right))
    return left / balance, right * balance


class ActivationGrid(nn.Module):
    """Rounds what it is given to 8 bits; the range is the largest magnitude seen in training.

    ``largest`` () is a buffer; before anything was seen, everything passes as it is. With
    ``power_of_two`` the scale is one, as that of what point-wise operators read.
    """

    largest: Tensor

    def __init__(self, power_of_two: bool) -> None:
        super().__init__()
        self.power_of_two = power_of_two
        self.register_buffer("largest", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor, beside: ActivationGrid | None = None) -> Tensor:
        """``x``, floats of any shape, rounded and saturated.

        ``beside`` is the grid of what is joined with ``x``: they have one scale, and each a step
        that is a power of two times it.
        """
        self.observe(x)
        step = self._scale() if beside is None else self._step(beside)
        q = torch.floor(x.detach().double() / step + 0.5).clamp(-_LARGEST - 1, _LARGEST)
        return straight_through(x, torch.where(self.largest > 0, q * step, x).to(x.dtype))

    def observe(self, x: Tensor) -> None:
        """Widens the range to ``x``, in training mode."""
        if self.training and x.numel():
            self.largest.copy_(torch.maximum(self.largest, x.detach().abs().max().double()))

    def _step(self, beside: ActivationGrid) -> Tensor:
        own, other = self._scale(), beside._scale()
        steps = torch.exp2(torch.ceil(torch.log2(own / other) - _TINY))
        return torch.where((other > 0) & (own > other), other * steps, own)

    def _scale(self) -> Tensor:
        mantissa, exponent = torch.frexp(self.largest)
        scale = torch.ldexp(torch.ceil(mantissa * _RANGE_STEPS) / _RANGE_STEPS, exponent) / _LARGEST
        return torch.exp2(torch.ceil(torch.log2(scale) - _TINY)) if self.power_of_two else scale


def _shared(w: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Integers with a scale along ``axes``."""
    largest = w.abs().amax(axes, keepdim=True)
    largest = torch.maximum(largest, fixedpoint.LEAST_SCALE * largest.max())
    scale = largest / _LARGEST
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return torch.floor(w / scale + 0.5), scale


def _round_left(a: Tensor, b: Tensor) -> Tensor:
    (_, m1, n1), (_, m2, n2) = a.shape, b.shape
    if kronecker.order_of(((m1, n1), (m2, n2))) == "a_first":
        return round_matrix(a.flatten(0, 1)).view_as(a)
    return round_matrix(a)


def _norm(factors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(factors, dim=(1, 2), keepdim=True)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, 1 where there is none."""
    return torch.where((a > 0) & (b > 0), a / b, torch.ones_like(a))
