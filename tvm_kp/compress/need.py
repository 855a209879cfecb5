"""Hybrid by need: as many dense rows, or terms, as an accuracy takes, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import log, prod
from typing import Literal

from torch import nn

from tvm_kp.compress.apply import apply
from tvm_kp.compress.candidates import shapes
from tvm_kp.compress.forms import MOST_TERMS, Kronecker
from tvm_kp.compress.plans import Choice, Plan, Site, chosen
from tvm_kp.compress.sizes import parse_size, size
from tvm_kp.errors import InputError, ModelError
from tvm_kp.kronecker import Shape

_SLACK = 1.1  # of a product's numbers, because other sizes have other divisors


@dataclass(frozen=True)
class Try:
    """A form that was trained, the bytes of the model with it, and the accuracy from 0 to 1."""

    form: str
    size: int
    accuracy: float


@dataclass(frozen=True)
class Met:
    """The trained ``model`` with ``plan`` applied, its accuracy, and all ``tries`` up to it."""

    model: nn.Module
    plan: Plan
    accuracy: float
    tries: tuple[Try, ...]


@dataclass(frozen=True)
class _Block:
    """The form of a ``rows`` × ``cols`` matrix to start from."""

    form: Kronecker
    rows: int
    cols: int

    def is_smaller(self, form: Kronecker) -> bool:
        """Whether it has fewer numbers than the dense matrix."""
        return form.parameters(self.rows, self.cols) < self.rows * self.cols

    def hybrid(self, dense_rows: int) -> Kronecker | None:
        """With other dense rows and about the same numbers below; None if that costs rank."""
        own, rank = self.form.factors, self.form.max_rank(self.rows, self.cols)
        made = [
            replace(self.form, factors=factors, dense_rows=dense_rows)
            for pair in shapes(self.rows - dense_rows, self.cols)
            for factors in (pair, pair[::-1])
            if sum(map(prod, factors)) <= _SLACK * sum(map(prod, own))
        ]
        possible = [
            form
            for form in made
            if form.max_rank(self.rows, self.cols) >= rank and self.is_smaller(form)
        ]
        return min(possible, key=lambda form: _unlike(form.factors, own), default=None)


def meet(
    make: Callable[[], nn.Module],
    base: Choice,
    train: Callable[[nn.Module], float],
    *,
    target: float,
    budget: str | int,
    grow: Literal["dense_rows", "terms"] = "dense_rows",
    bits: int = 32,
    start: Literal["nearest", "random"] = "random",
    progress: Callable[[Try], None] | None = None,
) -> Met:
    """Trains ever larger forms until the accuracy is ``target``, from 0 to 1.

    ``make`` gives the dense model anew, which gets the form, and ``train`` trains it and returns
    its accuracy. The first form is ``base``; each next one has about twice the dense rows, or one
    more term, up to three. Rows are chosen such that the factors below have about the base's
    numbers and shapes, and no form has a smaller rank than the base. ``budget`` and ``bits`` are
    those of ``plan``, ``start`` is that of ``apply``; ``progress`` is called after each try.

    Raises ``InputError`` for options that make no sense, and ``ModelError``, which tells the best
    that was reached, when no larger form is within the budget.
    """
    _check(base, target, grow)
    limit, tries, model = parse_size(budget), list[Try](), make()
    for options in _steps(base, chosen(model, Plan((base,)))[0][1], grow):
        plans = [Plan((choice,)) for choice in options]
        plan = next((one for one in plans if size(model, one, bits) <= limit), None)
        if plan is None:
            break
        form, taken = plan.rows(model)[0].form, size(model, plan, bits)
        apply(model, plan, start)
        tries.append(Try(form, taken, _share(train(model))))
        if progress is not None:
            progress(tries[-1])
        if tries[-1].accuracy >= target:
            return Met(model, plan, tries[-1].accuracy, tuple(tries))
        model = make()
    if not tries:
        raise ModelError(
            f"with the base the model takes {size(model, Plan((base,)), bits):,} bytes, more than "
            f"the budget of {limit:,}; raise it, or let plan(model, budget={limit}) choose the base"
        )
    best = max(tries, key=lambda one: one.accuracy)
    raise ModelError(
        f"no form of {base.site} within {limit:,} bytes reached an accuracy of {target:g}; the "
        f"best was {best.accuracy:.4g} with {best.form}, {best.size:,} bytes: raise the budget, "
        f"train longer, or grow {'terms' if grow == 'dense_rows' else 'dense_rows'}"
    )


def _check(base: Choice, target: float, grow: str) -> None:
    if not 0 <= target <= 1:
        raise InputError(f"a target of {target}; give an accuracy from 0 to 1, for example 0.95")
    if grow not in ("dense_rows", "terms"):
        raise InputError(f"grow {grow!r}; there are 'dense_rows' and 'terms'")
    for form in base.forms:
        if not isinstance(form, Kronecker) or not _has_only(form, grow):
            raise InputError(
                f"cannot grow {grow} of {form}; give a Kronecker form of two factors with nothing "
                "else"
            )


def _has_only(form: Kronecker, grow: str) -> bool:
    plain = Kronecker(form.factors, **{grow: getattr(form, grow)})
    return len(form.factors) == 2 and form == plain


def _share(accuracy: float) -> float:
    if not 0 <= accuracy <= 1:
        raise InputError(f"train returned {accuracy}; an accuracy is from 0 to 1")
    return accuracy


def _steps(base: Choice, site: Site, grow: str) -> Iterator[list[Choice]]:
    """What to try one after the other: of each step the first that fits."""
    yield [base]
    blocks = [
        _Block(form, rows, cols)
        for form, _, rows, cols in base.blocks(site)
        if isinstance(form, Kronecker)
    ]
    for options in _more_dense_rows(blocks) if grow == "dense_rows" else _more_terms(blocks):
        yield [replace(base, forms=tuple(forms)) for forms in options]


def _more_dense_rows(blocks: list[_Block]) -> Iterator[list[list[Kronecker]]]:
    """1, 2 or 3, 4 to 7 and so on, the fewest that leave a good shape first."""
    first = 1 << max(block.form.dense_rows for block in blocks).bit_length()
    while first < blocks[0].rows:
        window = range(first, min(2 * first, blocks[0].rows))
        grown = [[block.hybrid(dense_rows) for block in blocks] for dense_rows in window]
        made = [[form for form in forms if form] for forms in grown if None not in forms]
        if made:
            yield made
        first *= 2


def _more_terms(blocks: list[_Block]) -> Iterator[list[list[Kronecker]]]:
    """One more each time, of all as many as there may be."""
    for more in range(1, MOST_TERMS + 1 - max(block.form.terms for block in blocks)):
        grown = [replace(block.form, terms=block.form.terms + more) for block in blocks]
        if not all(map(_Block.is_smaller, blocks, grown)):
            return
        yield [grown]


def _unlike(some: tuple[Shape, ...], others: tuple[Shape, ...]) -> float:
    sides = zip(sum(some, ()), sum(others, ()), strict=True)
    return sum(abs(log(one / other)) for one, other in sides)
