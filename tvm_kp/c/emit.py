"""A planned program -> the C sources of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tvm_kp.c.emission import Emission
from tvm_kp.c.entry import entry_file
from tvm_kp.c.expressions import MATH_CONSTANTS
from tvm_kp.c.functions import FunctionPrinter
from tvm_kp.c.memory_settings import CONSTANTS_SECTION
from tvm_kp.c.support import helpers
from tvm_kp.optimization import SIZE, SPEED

_SAVE_REGISTERS = """\
#if defined(__GNUC__) && !defined(__clang__)
// GCC would move loads up before it knows how few registers there are, and save others on the stack
// for them; and on MVE gather the results of sums in vectors, from the last store back to the first
// product.
#pragma GCC optimize("no-schedule-insns", "no-tree-slp-vectorize")
#endif
"""
_SAVE_FLASH = """\
#if defined(__GNUC__) && !defined(__clang__)
// Whatever the level that this is compiled at: at -O3 GCC writes loops out.
#pragma GCC optimize("O2")
#endif
"""


def emit(emission: Emission) -> dict[str, str]:
    """The sources by file name: ``<mod>_lib0.c`` (entry, main, weights), ``<mod>_lib1.c``."""
    return {
        f"{emission.name}_lib0.c": "\n".join(entry_file(emission)) + "\n",
        f"{emission.name}_lib1.c": "\n".join(
            operator_file(
                f"{emission.title}\n * The operators.",
                {emission.prototype(name): emission.printers[name] for name in emission.order},
                emission.optimize,
                emission.constants_section,
            )
        )
        + "\n",
    }


def operator_file(
    title: str,
    operators: Mapping[str, FunctionPrinter],
    optimize: str = SPEED,
    section: str = CONSTANTS_SECTION,
) -> Iterator[str]:
    """The lines of a file with ``operators``, by their prototypes, and the helpers they need,
    whose tables lie in ``section``."""
    bodies = {prototype: printer.body() for prototype, printer in operators.items()}
    used = set().union(*(printer.helpers for printer in operators.values()))
    yield f"/* {title} */"
    yield "#include <stdint.h>"
    lines = (line for body in bodies.values() for line in body)
    constants = any(name in line for line in lines for name in MATH_CONSTANTS)
    if constants or any(printer.libm for printer in operators.values()):
        yield "#include <math.h>"
    yield ""
    if optimize == SIZE:
        yield _SAVE_FLASH
    yield _SAVE_REGISTERS
    yield helpers(used, optimize, section)
    for prototype, body in bodies.items():
        yield f"{prototype};\n\n{prototype} {{"
        yield from body
        yield "}\n"
