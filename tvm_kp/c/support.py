"""C helpers that emitted code may call; only those that are used are emitted."""

from __future__ import annotations

from collections.abc import Iterable

from tvm_kp.c import (
    dot_helpers,
    fpu_helpers,
    integer_helpers,
    outer_helpers,
    product_helpers,
    stationary_helpers,
    tanh_helpers,
    vector_helpers,
)
from tvm_kp.c.memory_settings import CONSTANTS_SECTION
from tvm_kp.optimization import SPEED


def helpers(used: Iterable[str], optimize: str = SPEED, section: str = CONSTANTS_SECTION) -> str:
    """C definitions of the helpers in ``used`` and of those that they need themselves.

    Their tables lie in ``section``. Raises ``KeyError`` for a name that is no helper.
    """
    wanted = _wanted(used)
    made = {name: _definition(name) for name in wanted}
    if "kp_tanhf" in made and not tanh_helpers.is_rational(wanted, optimize):
        made["kp_tanhf"] = tanh_helpers.of_cubics(section)
    return "\n".join(made.values())


def table_bytes(used: Iterable[str], optimize: str = SPEED) -> int:
    """Bytes of the tables among the helpers in ``used`` and those that they need."""
    return tanh_helpers.table_bytes(_wanted(used), optimize)


def _wanted(used: Iterable[str]) -> list[str]:
    """``used`` and what that needs, each after what it needs itself."""
    return list(dict.fromkeys(n for name in sorted(used) for n in (*_needed(name), name)))


def is_helper(name: str) -> bool:
    """Whether ``helpers`` can define ``name``."""
    return name in _DEFINITIONS or any(knows(name) for knows, _ in _FAMILIES)


def _needed(name: str) -> tuple[str, ...]:
    return (*_NEEDS.get(name, ()), *product_helpers.needs(name), *dot_helpers.needs(name))


def _definition(name: str) -> str:
    return next((make for knows, make in _FAMILIES if knows(name)), _DEFINITIONS.__getitem__)(name)


# Helpers whose names say what they are.
_FAMILIES = (
    (product_helpers.is_product, product_helpers.definition),
    (dot_helpers.is_dots, dot_helpers.definition),
    (outer_helpers.is_outer, outer_helpers.definition),
    (stationary_helpers.is_stationary, stationary_helpers.definition),
    (fpu_helpers.is_sums, fpu_helpers.definition),
)

_NEEDS = {**vector_helpers.NEEDS, **tanh_helpers.NEEDS}

_DEFINITIONS = {
    **integer_helpers.HELPERS,
    **vector_helpers.HELPERS,
    **tanh_helpers.HELPERS,
    **{
        name: f"""\
// Division that rounds towards minus infinity.
static inline {type_} {name}({type_} a, {type_} b) {{
  return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}}
"""
        for name, type_ in (("kp_floordiv", "int32_t"), ("kp_floordiv64", "int64_t"))
    },
}
