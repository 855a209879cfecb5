"""Give every PrimFunc of a module the first schedule rule that applies to it.

A rule is a file in ``schedules/`` with ``ISA``, the set of instruction-set features it needs,
and ``apply(sch, choose) -> Schedule | None``, None meaning that it does not apply; ``choose`` is
asked for what the rule leaves open: see ``space``. Rules that need more features come first;
``PRIORITY`` breaks ties (default 0, higher first).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import tvm
from tvm import s_tir, tirx

from tvm_kp.kernel.hoist import hoist_allocations
from tvm_kp.kernel.load_multiple import use_load_multiple
from tvm_kp.kernel.lower import lower
from tvm_kp.kernel.space import Choose
from tvm_kp.target import content_dir


@dataclass(frozen=True)
class Rule:
    """A schedule rule and what it needs."""

    name: str
    isa: frozenset[str]
    priority: int
    module: ModuleType


def load_rules(isa: Sequence[str]) -> list[Rule]:
    """The rules that a core with the features ``isa`` can use, best first."""
    rules = [_load(path) for path in sorted(content_dir("schedules").glob("*.py"))]
    usable = [rule for rule in rules if rule.isa <= set(isa)]
    return sorted(usable, key=lambda rule: (-len(rule.isa), -rule.priority, rule.name))


def _load(path: Path) -> Rule:
    spec = importlib.util.spec_from_file_location(f"tvm_kp_schedule_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Rule(path.stem, frozenset(module.ISA), getattr(module, "PRIORITY", 0), module)


def schedule(mod: tvm.IRModule, isa: Sequence[str]) -> dict[str, tirx.PrimFunc]:
    """The lowered PrimFuncs of ``mod`` by name, each scheduled for a core with ``isa``.

    Parameters beyond those of the PrimFunc in ``mod`` are memory that the caller provides.
    """
    rules = load_rules(isa)
    functions = {
        gv.name_hint: _apply(function, rules)
        for gv, function in mod.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }
    lowered = lower(tvm.IRModule(functions))
    result = {
        gv.name_hint: hoist_allocations(function) for gv, function in lowered.functions_items()
    }
    if "fpu" in isa:
        result = {name: use_load_multiple(function) for name, function in result.items()}
    return result


def _apply(function: tirx.PrimFunc, rules: Sequence[Rule]) -> tirx.PrimFunc:
    for rule in rules:
        scheduled = rule.module.apply(s_tir.Schedule(function), Choose())
        if scheduled is not None:
            return scheduled.mod["main"]
    return function
