"""Modules that hold a weight in one of the ``forms`` and give it multiplied out.

Multiplied out once a forward pass, so that PyTorch's own operators compute the layer and training
is about as fast as that of the dense layer.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from tvm_kp.compress.forms import Form, Kronecker, LowRank, Pruned
from tvm_kp.kronecker import Shape

DROPOUT = 0.1  # of a doped weight's rows while its entries are chosen


class Weight(nn.Module):
    """A (gates·rows, cols) matrix; ``forward()`` gives it.

    ``widths`` are the columns of each parameter that it stands for: all, unless set.
    Subclasses register their parameters in ``__init__`` with ``torch.empty``.
    """

    def __init__(self, gates: int, rows: int, cols: int) -> None:
        super().__init__()
        self.gates, self.rows, self.cols = gates, rows, cols
        self.widths = [cols]

    def forward(self) -> Tensor:
        """The matrix, multiplied out."""
        raise NotImplementedError

    def draw(self, variance: float) -> None:
        """Draws the parameters from uniform distributions: entries have mean 0 and ``variance``."""
        raise NotImplementedError

    def assign(self, w: Tensor) -> None:
        """Takes the parameters that come nearest to ``w`` (gates·rows, cols)."""
        raise NotImplementedError

    def anneal(self, done: float) -> None:
        """Chooses entries, if the form has chosen ones, after the share ``done`` of training."""

    def _parameter(self, *shape: int, like: Tensor) -> nn.Parameter:
        return nn.Parameter(like.new_empty(shape))

    def _gate_blocks(self, w: Tensor) -> Tensor:
        return w.detach().reshape(self.gates, self.rows, self.cols)


class KroneckerWeight(Weight):
    """[D; Σ A ⊗ B (⊗ C)] + E gate by gate.

    Parameters are the factors ``a`` (terms, gates, m1, n1), ``b`` and with three factors ``c``,
    ``dense`` (gates, dense_rows, cols) and ``entries`` (gates, rows, cols), of which the buffer
    ``mask`` says which ones count.
    """

    a: Tensor
    b: Tensor
    c: Tensor
    dense: Tensor
    entries: Tensor
    mask: Tensor

    def __init__(self, form: Kronecker, gates: int, rows: int, cols: int, like: Tensor) -> None:
        super().__init__(gates, rows, cols)
        self.form = form
        for name, shape in zip("abc", form.factors, strict=False):
            self.register_parameter(name, self._parameter(form.terms, gates, *shape, like=like))
        if form.dense_rows:
            self.dense = self._parameter(gates, form.dense_rows, cols, like=like)
        if form.density:
            self.entries = self._parameter(gates, rows, cols, like=like)
            self.register_buffer("mask", torch.ones_like(self.entries, dtype=torch.bool))
        self.dropout = 0.0

    def forward(self) -> Tensor:
        """The matrix, multiplied out."""
        parts = [self.a, self.b, self.c] if len(self.form.factors) == 3 else [self.a, self.b]
        product = parts[0]
        for factor in parts[1:]:
            product = kron(product, factor)
        # Added one by one, as the compiler that looks for a sum of products does.
        result = product[0]
        for term in range(1, self.form.terms):
            result = result + product[term]
        if self.form.dense_rows:
            result = torch.cat([self.dense, result], 1)
        if self.form.density:
            result = self._dropped(result) + self._dropped(self.entries * self.mask)
        return result.reshape(self.gates * self.rows, self.cols)

    def draw(self, variance: float) -> None:
        """Draws the parameters: factors are independent and have mean 0, so variances multiply.

        Var(Σ a·b) = terms · Var(a)·Var(b), and each of F factors takes the F-th root of the
        variance over the terms. Entries added to products start from 0.
        """
        factors = self._factors()
        each = (variance / self.form.terms) ** (1 / len(factors))
        with torch.no_grad():
            for factor in factors:
                _uniform(factor, each)
            if self.form.dense_rows:
                _uniform(self.dense, variance)
            if self.form.density:
                self.entries.zero_()
                self.mask.fill_(True)

    def assign(self, w: Tensor) -> None:
        """Takes D from ``w``, the nearest products below it, and what is left as entries."""
        whole = self._gate_blocks(w).double()
        with torch.no_grad():
            if self.form.dense_rows:
                self.dense.copy_(whole[:, : self.form.dense_rows])
            below = whole[:, self.form.dense_rows :]
            factors = nearest(below, self.form.factors, self.form.terms)
            for parameter, factor in zip(self._factors(), factors, strict=True):
                parameter.copy_(factor)
            if self.form.density:
                self.mask.fill_(True)
                self.entries.zero_()
                rest = whole - self.forward().reshape(whole.shape)
                self.entries.copy_(rest)

    def anneal(self, done: float) -> None:
        """Chooses the entries that are added; rows drop out until they are chosen for good."""
        if self.form.density:
            left = choose(self.entries, self.mask, self.form.density, done)
            self.dropout = DROPOUT * left

    def _factors(self) -> list[Tensor]:
        return [getattr(self, name) for name, _ in zip("abc", self.form.factors, strict=False)]

    def _dropped(self, part: Tensor) -> Tensor:
        """Whole rows left out while training, so that neither part relies on the other."""
        if not self.training or not self.dropout:
            return part
        kept = torch.rand(part.shape[:-1], device=part.device) >= self.dropout
        return part * (kept / (1 - self.dropout)).unsqueeze(-1).to(part.dtype)


class LowRankWeight(Weight):
    """U·V gate by gate: the parameters ``u`` (gates, rows, rank) and ``v`` (gates, rank, cols)."""

    def __init__(self, form: LowRank, gates: int, rows: int, cols: int, like: Tensor) -> None:
        super().__init__(gates, rows, cols)
        self.form = form
        self.u = self._parameter(gates, rows, form.rank, like=like)
        self.v = self._parameter(gates, form.rank, cols, like=like)

    def forward(self) -> Tensor:
        """The matrix, multiplied out."""
        return (self.u @ self.v).reshape(self.gates * self.rows, self.cols)

    def draw(self, variance: float) -> None:
        """Draws U and V: Var(u·v) = rank · Var(u)·Var(v)."""
        each = (variance / self.form.rank) ** 0.5
        with torch.no_grad():
            _uniform(self.u, each)
            _uniform(self.v, each)

    def assign(self, w: Tensor) -> None:
        """Takes the leading singular vectors of every gate."""
        u, s, v = torch.linalg.svd(self._gate_blocks(w).double(), full_matrices=False)
        root = s[:, : self.form.rank].sqrt()
        with torch.no_grad():
            self.u.copy_(u[:, :, : self.form.rank] * root[:, None, :])
            self.v.copy_(root[:, :, None] * v[:, : self.form.rank])


class PrunedWeight(Weight):
    """The parameter ``dense`` (gates, rows, cols), zero where the buffer ``mask`` is."""

    mask: Tensor

    def __init__(self, form: Pruned, gates: int, rows: int, cols: int, like: Tensor) -> None:
        super().__init__(gates, rows, cols)
        self.form = form
        self.dense = self._parameter(gates, rows, cols, like=like)
        self.register_buffer("mask", torch.ones_like(self.dense, dtype=torch.bool))

    def forward(self) -> Tensor:
        """The matrix with its zeros."""
        return (self.dense * self.mask).reshape(self.gates * self.rows, self.cols)

    def draw(self, variance: float) -> None:
        """Draws all entries."""
        with torch.no_grad():
            _uniform(self.dense, variance)
            self.mask.fill_(True)

    def assign(self, w: Tensor) -> None:
        """Takes ``w``; what is zero is chosen by ``anneal``."""
        with torch.no_grad():
            self.dense.copy_(self._gate_blocks(w))
            self.mask.fill_(True)

    def anneal(self, done: float) -> None:
        """Chooses the entries that are kept."""
        choose(self.dense, self.mask, self.form.density, done)


def make(form: Form, gates: int, rows: int, cols: int, like: Tensor) -> Weight:
    """The module for ``form``, its numbers not set, of ``like``'s dtype and device."""
    if isinstance(form, Kronecker):
        return KroneckerWeight(form, gates, rows, cols, like)
    if isinstance(form, LowRank):
        return LowRankWeight(form, gates, rows, cols, like)
    return PrunedWeight(form, gates, rows, cols, like)


def kron(a: Tensor, b: Tensor) -> Tensor:
    """A ⊗ B of the last two axes; the others agree."""
    (m1, n1), (m2, n2) = a.shape[-2:], b.shape[-2:]
    wide = a[..., :, None, :, None] * b[..., None, :, None, :]
    return wide.reshape(*a.shape[:-2], m1 * m2, n1 * n2)


def nearest(w: Tensor, factors: tuple[Shape, ...], terms: int) -> list[Tensor]:
    """The factors (terms, gates, m, n) whose ``terms`` products add up nearest to ``w``.

    ``w`` is (gates, Πm, Πn). Rearranged to one row an entry of A (Van Loan and Pitsianis 1993) a
    sum of R products is a matrix of rank R, and the leading singular vectors are the factors;
    both factors have the same norm. Of three factors the last two are found in what stands for
    their product, which is near to the best but need not be it.
    """
    (m1, n1), *others = factors
    m2, n2 = (prod(side) for side in zip(*others, strict=True))
    blocks = w.reshape(-1, m1, m2, n1, n2).transpose(2, 3).reshape(-1, m1 * n1, m2 * n2)
    u, s, v = torch.linalg.svd(blocks, full_matrices=False)
    count = min(terms, s.shape[1])
    share = s[:, :count] ** (1 / len(factors))
    rest = s[:, :count] / share.clamp_min(torch.finfo(s.dtype).tiny)
    a = w.new_zeros(terms, len(w), m1, n1)
    b = w.new_zeros(terms, len(w), m2, n2)
    a[:count] = (u[:, :, :count] * share[:, None]).permute(2, 0, 1).reshape(a[:count].shape)
    b[:count] = (rest[:, :, None] * v[:, :count]).transpose(0, 1).reshape(b[:count].shape)
    if len(others) == 1:
        return [a, b]
    inner = nearest(b.flatten(0, 1), tuple(others), 1)
    return [a, *(factor[0].reshape(terms, len(w), *factor.shape[2:]) for factor in inner)]


def choose(entries: Tensor, mask: Tensor, density: float, done: float) -> float:
    """Sets ``mask`` (gates, rows, cols) to the largest entries of each gate, ever fewer of them.

    The share kept falls from 1 to ``density`` by the cubic rule of Zhu and Gupta between 10 % and
    70 % of training. Returns how far it is from there: 1 before, 0 once the choice is made, which
    a model that is trained again keeps.
    """
    left = (1 - min(max((done - 0.1) / 0.6, 0.0), 1.0)) ** 3
    size, now = entries[0].numel(), int(mask[0].sum())
    last = round(density * size)
    if now <= last:
        return 0.0  # chosen for good
    count = min(round((density + (1 - density) * left) * size), now)
    kept = entries.detach().abs().flatten(1).topk(count, 1).indices
    chosen = torch.zeros_like(mask.flatten(1)).scatter_(1, kept, True)
    mask.copy_(chosen.reshape(mask.shape))
    return left if count > last else 0.0


def _uniform(parameter: Tensor, variance: float) -> None:
    bound = (3 * variance) ** 0.5
    nn.init.uniform_(parameter, -bound, bound)
