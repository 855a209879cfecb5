"""The objects of a model: everything in one, without and with hooks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, StringImm

from tvm_kp.c.emission import Emission
from tvm_kp.c.llvm.addresses import share_addresses
from tvm_kp.c.llvm.arithmetic import lower_arithmetic
from tvm_kp.c.llvm.data import assembly_text, data_text
from tvm_kp.c.llvm.entry import entries
from tvm_kp.c.llvm.float_helpers import float_text
from tvm_kp.c.llvm.integer_helpers import integer_text
from tvm_kp.c.llvm.outer import outer_text
from tvm_kp.c.llvm.pointers import with_pointers
from tvm_kp.target import HOST, Target

# An empty section, for which ld warns of every other object that has none.
_LINUX_STACK, _NO_STACK = b".note.GNU-stack\0", b".comment.no_one\0"


def objects(emission: Emission, target: Target) -> dict[str, bytes]:
    """The objects by file name: ``<mod>_lib0.o``, and the same with hooks in ``hooks/``."""
    file = f"{emission.name}_lib0.o"
    return {
        file: _object(emission, target, False),
        f"hooks/{file}": _object(emission, target, True),
    }


def _object(emission: Emission, target: Target, hooks: bool) -> bytes:
    llvm = tvm.target.Target(target.llvm)
    functions = entries(emission, hooks)
    first = next(iter(functions))
    functions[first] = _importing(functions[first], _text(emission, target, hooks))
    for name in emission.order:
        symbol = emission.symbol(name)
        function = share_addresses(lower_arithmetic(emission.operators[name], llvm))
        functions[symbol] = with_pointers(function, symbol, apart=not emission.aliased[name])
    build = tvm_ffi.get_global_func("target.build.llvm")
    made = build(tvm.IRModule(functions), llvm)
    with tempfile.TemporaryDirectory(prefix="tvm_kp-") as folder:
        path = Path(folder) / "model.o"
        made.write_to_file(str(path), "o")
        return path.read_bytes().replace(_LINUX_STACK, _NO_STACK)


def _text(emission: Emission, target: Target, hooks: bool) -> str:
    """LLVM's text of all that is no TIR."""
    called = _called(emission)
    helpers = [
        float_text(target.isa, emission.constants_section),
        integer_text(called, "dsp" in target.isa),
    ]
    helpers += map(outer_text, sorted(called))
    return "\n".join([assembly_text(target.core != HOST, hooks), data_text(emission), *helpers])


def _called(emission: Emission) -> set[str]:
    """The helpers that operators call by name."""
    found: set[str] = set()

    def note(call: Call) -> None:
        if call.op.name == "tirx.call_extern":
            found.add(call.args[0].value)

    for name in emission.order:
        tvm_ffi.structural_walk(emission.operators[name].body, (Call, note))
    return found


def _importing(function: tirx.PrimFunc, text: str) -> tirx.PrimFunc:
    """``function`` with LLVM's ``text`` in its module."""
    zero = tirx.const(0, "int32")
    body = tirx.AttrStmt(zero, "pragma_import_llvm", StringImm(text), function.body)
    return function.with_body(body)
