"""The C of one kernel alone, called on memory that a harness provides, to be measured."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tvm import tirx

from tvm_kp.c.buffers import written_buffers
from tvm_kp.c.emit import operator_file
from tvm_kp.c.expressions import C_TYPES
from tvm_kp.c.functions import FunctionPrinter


def trial_source(
    kernel: tirx.PrimFunc, symbol: str, offsets: Sequence[int], aliased: Collection[int]
) -> str:
    """C that defines ``void <symbol>(unsigned char *memory)``, a call of ``kernel``.

    Its parameters lie ``offsets`` bytes from the beginning of the memory; those at the indices
    ``aliased`` share memory in the model that the kernel is of.
    """
    printer = FunctionPrinter(kernel)
    # Called as in a model, from another file: what calls it does not change how it is compiled.
    prototype = f"__attribute__((noipa)) void {symbol}_kernel({printer.parameters(aliased)})"
    lines = list(operator_file("A kernel to be measured.", {prototype: printer}))
    written = written_buffers(kernel)
    pointers = (
        f"({'' if param in written else 'const '}{C_TYPES[str(param.dtype)]} *)(memory + {offset})"
        for param, offset in zip(kernel.params, offsets, strict=True)
    )
    entry = f"void {symbol}(unsigned char *memory)"
    lines += [f"{entry};\n", f"{entry} {{", f"  {symbol}_kernel({', '.join(pointers)});", "}\n"]
    return "\n".join(lines)
