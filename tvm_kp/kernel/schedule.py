"""Give every PrimFunc of a module a schedule: a recorded one, or the default of the best rule.

A rule is a file in ``schedules/`` with ``ISA``, the set of instruction-set features it needs,
and ``apply(sch, choose) -> Schedule | None``, None meaning that it does not apply; ``choose`` is
asked for what the rule leaves open: see ``space``. Rules that need more features come first;
``PRIORITY`` breaks ties (default 0, higher first), and those below 0 are for what no other rule
applies to. ``KINDS`` are those of code that it is for (default: all), as not every kind has the
helpers that kernels call. ``VERSION`` (default 1) is raised when a rule's choices come to mean
something else.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import tvm
from tvm import s_tir, tirx

from tvm_kp.codegen import KINDS, C
from tvm_kp.kernel.hoist import hoist_allocations
from tvm_kp.kernel.lower import lower
from tvm_kp.kernel.space import Choices, Choose, Recorded, StaleChoices, every
from tvm_kp.target import content_dir


@dataclass(frozen=True)
class Rule:
    """A schedule rule and what it needs."""

    name: str
    isa: frozenset[str]
    priority: int
    version: int
    kinds: tuple[str, ...]
    module: ModuleType


@dataclass(frozen=True)
class Way:
    """A way to schedule a function: the choices of one version of a rule."""

    rule: str
    version: int
    choices: Choices = field(default_factory=dict)


Tuned = Callable[[tirx.PrimFunc], Way | None]


def load_rules(isa: Sequence[str], kind: str = C) -> list[Rule]:
    """The rules for a core with the features ``isa`` and for a ``kind`` of code, best first."""
    rules = [_load(path) for path in sorted(content_dir("schedules").glob("*.py"))]
    usable = [rule for rule in rules if rule.isa <= set(isa) and kind in rule.kinds]
    return sorted(usable, key=lambda rule: (-len(rule.isa), -rule.priority, rule.name))


def _load(path: Path) -> Rule:
    spec = importlib.util.spec_from_file_location(f"tvm_kp_schedule_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    priority, version = getattr(module, "PRIORITY", 0), getattr(module, "VERSION", 1)
    kinds = tuple(getattr(module, "KINDS", KINDS))
    return Rule(path.stem, frozenset(module.ISA), priority, version, kinds, module)


def schedule(
    mod: tvm.IRModule,
    isa: Sequence[str],
    tuned: Tuned = lambda _: None,
    kind: str = C,
) -> dict[str, tirx.PrimFunc]:
    """The lowered PrimFuncs of ``mod`` by name, each scheduled for a core with ``isa``, to become
    code of ``kind``.

    ``tuned`` knows better ways than the defaults for some functions. Parameters beyond those of
    the PrimFunc in ``mod`` are memory that the caller provides.
    """
    rules = load_rules(isa, kind)
    functions = {
        gv.name_hint: _best(function, rules, tuned(function))
        for gv, function in mod.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }
    return _lowered(functions)


def schedule_one(function: tirx.PrimFunc, isa: Sequence[str], way: Way) -> tirx.PrimFunc:
    """``function``, scheduled in one ``way`` and lowered. Raises ``StaleChoices``."""
    return _lowered({"main": _recorded(function, load_rules(isa), way)})["main"]


def ways(function: tirx.PrimFunc, isa: Sequence[str]) -> list[Way]:
    """All ways to schedule ``function`` for a core with ``isa``, the default first."""
    found: list[Way] = []
    default: Way | None = None
    for rule in load_rules(isa):
        choose = Choose()
        if rule.priority < 0 and default is not None:
            continue
        if rule.module.apply(s_tir.Schedule(function), choose) is None:
            continue
        default = default or Way(rule.name, rule.version, choose.made)

        def ask(choose: Choose, rule: Rule = rule) -> object:
            return rule.module.apply(s_tir.Schedule(function), choose)

        found += [Way(rule.name, rule.version, choices) for choices in every(ask)]
    return [] if default is None else [default, *(way for way in found if way != default)]


def default_rule(function: tirx.PrimFunc, isa: Sequence[str], kind: str) -> str | None:
    """The name of the first rule that applies, if any does."""
    applying = (
        rule.name
        for rule in load_rules(isa, kind)
        if rule.module.apply(s_tir.Schedule(function), Choose()) is not None
    )
    return next(applying, None)


def is_offered(function: tirx.PrimFunc, isa: Sequence[str], way: Way) -> bool:
    """Whether the rules still offer ``way``."""
    try:
        _recorded(function, load_rules(isa), way)
    except StaleChoices:
        return False
    return True


def _lowered(functions: Mapping[str, tirx.PrimFunc]) -> dict[str, tirx.PrimFunc]:
    lowered = lower(tvm.IRModule(dict(functions)))
    return {gv.name_hint: hoist_allocations(function) for gv, function in lowered.functions_items()}


def _best(function: tirx.PrimFunc, rules: Sequence[Rule], way: Way | None) -> tirx.PrimFunc:
    """What ``way`` makes of ``function``, or else the first rule that applies."""
    if way is not None:
        return _recorded(function, rules, way)
    for rule in rules:
        scheduled = rule.module.apply(s_tir.Schedule(function), Choose())
        if scheduled is not None:
            return scheduled.mod["main"]
    return function


def _recorded(function: tirx.PrimFunc, rules: Sequence[Rule], way: Way) -> tirx.PrimFunc:
    rule = next((rule for rule in rules if rule.name == way.rule), None)
    if rule is None or rule.version != way.version:
        raise StaleChoices(f"there is no version {way.version} of the rule {way.rule}")
    choose = Recorded(way.choices)
    scheduled = rule.module.apply(s_tir.Schedule(function), choose)
    choose.finish()
    if scheduled is None:
        raise StaleChoices(f"{way.rule} does not apply")
    return scheduled.mod["main"]
