"""Planning: the form, with its shapes, that each layer of a model gets to meet a size.

Which of its ``candidates`` a matrix gets depends on how many numbers it may have: those of the
dense matrix over a factor, which is the same for all layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import isfinite
from typing import Literal

from torch import nn

from tvm_kp import kronecker
from tvm_kp.compress.candidates import KEYS, Candidate, Objective, best, candidates, smallest
from tvm_kp.compress.forms import Kronecker, LowRank
from tvm_kp.compress.plans import KINDS, Choice, Plan, Site, chosen, sites
from tvm_kp.compress.sizes import BITS, numbers, numbers_outside, parse_size, size
from tvm_kp.errors import InputError, ModelError


def plan(
    model: nn.Module,
    *,
    budget: str | int | None = None,
    factor: float | None = None,
    objective: Objective = "rank",
    rule: Literal["search", "primes"] = "search",
    layers: Sequence[str] | None = None,
    bits: int = 32,
) -> Plan:
    """Chooses forms for ``layers``: by default all recurrences, without any all linear layers.

    Give ``budget`` or ``factor``. A budget is how many bytes all parameters of the model may take,
    as ``size`` counts them: the layers become smaller by one factor, the smallest that meets it,
    and a model that meets it as it is gets an empty plan. A factor is how many times smaller, at
    least, the weights of each layer become.

    ``objective`` "rank" takes the form of the largest rank that a gate can have, of several the
    one with the fewest MACs; "size" and "macs" the one with the fewest numbers or MACs among
    those of at least half that rank. W_ih and W_hh have one form together, or two where the
    smaller rank of these is larger; in ``nn.GRU``, which resets after the product, always two.

    ``rule`` "primes" takes the method's shapes instead, which follow from the sizes alone
    (Thakker et al. 2019, arXiv 1906.02876; see ``kronecker.factor_shapes``), and checks that they
    are small enough.

    Raises ``InputError`` for options that make no sense, and ``ModelError`` for layers that are
    not there and for what cannot be made small enough.
    """
    if (budget is None) == (factor is None):
        raise InputError("give a budget in bytes, or a factor to compress by, and not both")
    _check("objective", objective, tuple(KEYS))
    _check("rule", rule, ("search", "primes"))
    _check("bits", bits, BITS)
    found = _sites(model, layers)
    if factor is not None:
        wanted = _exact(factor)
        return _by_primes(found, wanted) if rule == "primes" else _smaller(found, wanted, objective)
    assert budget is not None
    limit = parse_size(budget)
    if rule == "primes":
        return _within(model, _by_primes(found, Fraction(0)), limit, bits)
    if size(model, None, bits) <= limit:
        return Plan(())
    return _smallest_factor(model, found, limit, objective, bits)


def _check(name: str, value: object, there: tuple[object, ...]) -> None:
    if value not in there:
        raise InputError(f"{name} {value!r}; there are {', '.join(map(repr, there))}")


def _exact(factor: float) -> Fraction:
    """The decimal number that was written: 17.6 itself, not the float next to it."""
    if not isfinite(factor) or factor < 1:
        raise InputError(f"factor {factor}; give how many times smaller, a number of at least 1")
    return Fraction(str(factor))


def _sites(model: nn.Module, layers: Sequence[str] | None) -> list[Site]:
    if layers is not None:
        # Rank 1 fits every matrix, so that only the names are looked at.
        named = Plan(tuple(Choice(name, (LowRank(1),)) for name in layers))
        found = [site for _, site in chosen(model, named)]
    else:
        known = list(sites(model).values())
        found = [site for site in known if site.recurrent]
        found = found or [site for site in known if site.rows > 1]
    if not found:
        raise ModelError(f"no layer to compress in {type(model).__name__}; these are {KINDS}")
    return found


def _by_primes(found: list[Site], factor: Fraction) -> Plan:
    """The method's shapes for each gate of [W_ih | W_hh], if all are ``factor`` times smaller."""
    choices = []
    for site in found:
        form = Kronecker(kronecker.factor_shapes(site.rows, sum(site.cols)))
        choices.append(Choice(site.name, (form,)))
        taken = numbers(choices[-1], site)
        if taken * factor > site.dense:
            raise ModelError(
                f"{form}, the rule's shapes for {site.name}, are {site.dense / taken:.2f} times "
                f"smaller, {taken - site.dense // factor:,} numbers too many for a factor of "
                f"{float(factor):g}; ask for less, or let rule 'search' choose"
            )
    return Plan(tuple(choices))


def _within(model: nn.Module, result: Plan, limit: int, bits: int) -> Plan:
    taken = size(model, result, bits)
    if taken > limit:
        forms = ", ".join(f"{c.forms[0]} for {c.site}" for c in result.choices)
        raise ModelError(
            f"with the rule's shapes, {forms}, the model takes {taken:,} bytes, {taken - limit:,} "
            f"more than the budget of {limit:,}; raise it, or let rule 'search' choose"
        )
    return result


def _smaller(found: list[Site], factor: Fraction, objective: Objective) -> Plan:
    choices = [_choose(site, factor, objective) for site in found]
    for site, choice in zip(found, choices, strict=True):
        if choice is None:
            raise ModelError(
                f"a factor of {float(factor):g}: {_most(site)}; ask for less, or give layers "
                "without it"
            )
    return Plan(tuple(choice for choice in choices if choice is not None))


def _smallest_factor(
    model: nn.Module, found: list[Site], limit: int, objective: Objective, bits: int
) -> Plan:
    others, fewest = numbers_outside(model, found), size(model, None, bits)
    for factor in _factors(found):
        choices = [choice for site in found if (choice := _choose(site, factor, objective))]
        if len(choices) < len(found):
            break  # and so it is with every larger factor
        made = sum(map(numbers, choices, found))
        taken = (others + made) * bits // 8
        if taken <= limit:
            return Plan(tuple(choices))
        fewest = min(fewest, taken)
    raise ModelError(
        f"a budget of {limit:,} bytes is too small for any structure: the model takes at least "
        f"{fewest:,}, {others * bits // 8:,} of them outside the compressed layers; "
        f"{_most(min(found, key=_largest_factor))}"
    )


def _factors(found: list[Site]) -> list[Fraction]:
    """The factors up to which some choice holds, ascending: none changes between two of them."""
    ways = {(site.rows, way) for site in found for way in _ways(site)}
    return sorted({factor for rows, way in ways for factor in _changes(rows, way)})


def _changes(rows: int, way: tuple[int, ...]) -> Iterator[Fraction]:
    """The factors at which a matrix of ``way`` gets too little for one of its forms."""
    least = [smallest(rows, cols) for cols in way]
    for cols, own in zip(way, least, strict=True):
        for form in candidates(rows, cols):
            yield Fraction(rows * cols, form.parameters)
            yield Fraction(rows * sum(way), form.parameters + sum(least) - own)


def _largest_factor(site: Site) -> Fraction:
    """By which the site can become smaller; 0 if no form is smaller."""
    possible = [factor for factor in _factors([site]) if _choose(site, factor, "size")]
    return max(possible, default=Fraction(0))


def _most(site: Site) -> str:
    gate, most = f"{site.name}, {site.rows}x{sum(site.cols)} a gate,", _largest_factor(site)
    if not most:
        return f"{gate} has no structure that is smaller"
    return f"{gate} can be at most {int(100 * most) / 100} times smaller"


def _ways(site: Site) -> list[tuple[int, ...]]:
    """The columns of the matrices that get a form: of all weights together, of each apart."""
    if isinstance(site.layer, nn.GRU) or not site.recurrent:
        return [site.cols]
    return [(sum(site.cols),), site.cols]


def _choose(site: Site, factor: Fraction, objective: Objective) -> Choice | None:
    """What makes the site's weights at least ``factor`` times smaller, None if nothing does."""

    def fit(way: tuple[int, ...], objective: Objective) -> list[Candidate]:
        shares = zip(way, _shares(site.rows, way, factor), strict=True)
        found = (best(site.rows, cols, allowed, objective) for cols, allowed in shares)
        forms = [form for form in found if form]
        return forms if len(forms) == len(way) else []

    def smaller_rank(way: tuple[int, ...]) -> int:
        return min((form.rank for form in fit(way, "rank")), default=0)

    # Together where that is as good.
    forms = fit(max(_ways(site), key=smaller_rank), objective)
    return Choice(site.name, tuple(form.form for form in forms)) if forms else None


def _shares(rows: int, way: tuple[int, ...], factor: Fraction) -> list[int]:
    """Numbers that each matrix of one gate may have: by their sizes, but enough for some form.

    All 0 if there are not enough.
    """
    shares = [rows * cols / factor for cols in way]
    least = [smallest(rows, cols) for cols in way]
    if sum(least) > sum(shares):
        return [0] * len(way)
    lacks = [max(own - share, Fraction(0)) for own, share in zip(least, shares, strict=True)]
    # What one lacks, the other gives.
    return [int(s + 2 * lack - sum(lacks)) for s, lack in zip(shares, lacks, strict=True)]
