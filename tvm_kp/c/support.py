"""C helpers that emitted code may call; only those that are used are emitted."""

from __future__ import annotations

from collections.abc import Iterable

from tvm_kp.artifacts import SPEED
from tvm_kp.c import (
    dot_helpers,
    integer_helpers,
    outer_helpers,
    product_helpers,
    tanh_helpers,
    vector_helpers,
)
from tvm_kp.c.memory_settings import CONSTANTS_SECTION

_LOAD_REGISTERS = ["s16", "s17", "s18", "s19", "s20", "s21", "s22", "s23"]


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
    if product_helpers.is_product(name) or dot_helpers.is_dots(name):
        return True
    return outer_helpers.is_outer(name) or name in _DEFINITIONS or name in _MOVES


def _needed(name: str) -> tuple[str, ...]:
    return (*_NEEDS.get(name, ()), *product_helpers.needs(name), *dot_helpers.needs(name))


def _definition(name: str) -> str:
    if product_helpers.is_product(name):
        return product_helpers.definition(name)
    if dot_helpers.is_dots(name):
        return dot_helpers.definition(name)
    if outer_helpers.is_outer(name):
        return outer_helpers.definition(name)
    return _DEFINITIONS[name] if name in _DEFINITIONS else _move(name, _MOVES[name])


def _move(name: str, count: int) -> str:
    """A load- or store-multiple of ``count`` floats; VLDM and VSTM want neighboring registers."""
    load = name.startswith("kp_load")
    registers = _LOAD_REGISTERS[:count]
    pointed = f"const float (*)[{count}]" if load else f"float (*)[{count}]"
    memory = "source" if load else "target"
    declared = "\n".join(
        f'  register float {r} __asm__("{r}"){"" if load else f" = source[{k}]"};'
        for k, r in enumerate(registers)
    )
    listed = f"{{{registers[0]}-{registers[-1]}}}"
    if load:
        outputs = ", ".join(f'"=t"({r})' for r in registers)
        inputs = f'"r"(source), "m"(*({pointed})source)'
        results = "\n" + "\n".join(f"  target[{k}] = {r};" for k, r in enumerate(registers))
    else:
        outputs = f'"=m"(*({pointed})target)'
        inputs = '"r"(target), ' + ", ".join(f'"t"({r})' for r in registers)
        results = ""
    pointer = count if load else 1
    code = f'"{"vldmia" if load else "vstmia"} %{pointer}, {listed}"'
    return f"""\
// {count} floats between memory and registers by one instruction; {memory} is in memory.
static inline __attribute__((always_inline)) void {name}(float *target, const float *source) {{
{declared}
  __asm__({code} : {outputs} : {inputs});{results}
}}
"""


_MOVES = {f"kp_{verb}{count}": count for verb in ("load", "store") for count in range(2, 9)}

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
