"""The C file with the entry, the main function and the weights of a model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tvm_kp.c.emission import (
    Emission,
    address,
    elements,
    entry_prototype,
    map_prototype,
    pointer,
    pool_parameters,
    state_pointer,
)
from tvm_kp.c.expressions import C_TYPES, MATH_CONSTANTS, float_literal
from tvm_kp.c.functions import FunctionPrinter
from tvm_kp.c.program import Call
from tvm_kp.c.tir_main import TirMain

_PER_LINE = 12  # numbers in a line of a table


def entry_file(emission: Emission) -> Iterator[str]:
    yield f"/* {emission.title}\n * The entry, the main function and the weights. */"
    yield f'#include "tvmgen_{emission.name}.h"\n'
    yield "#include <string.h>"
    constants = list(_constants(emission))
    if any(name in line for line in constants for name in MATH_CONSTANTS):
        yield "#include <math.h>"
    yield ""
    yield from _hooks()
    for name in emission.order:
        yield f"{emission.prototype(name)};"
    yield ""
    yield from constants
    yield from _workspace(emission)
    yield from _main(emission)
    yield from _maps(emission)
    yield from _entry(emission)


def _hooks() -> Iterator[str]:
    yield "#ifdef TVMGEN_PROFILE  // the harness measures between these calls"
    yield "void tvmgen_profile_begin(int32_t op);"
    yield "void tvmgen_profile_end(int32_t op);"
    yield "#else"
    yield "#define tvmgen_profile_begin(op) ((void)(op))"
    yield "#define tvmgen_profile_end(op) ((void)(op))"
    yield "#endif"
    yield "#ifdef TVMGEN_TRACE  // the harness reads what each call has given"
    yield "void tvmgen_trace(int32_t op, int32_t output, const void *data, int32_t bytes);"
    yield "#else"
    yield "#define tvmgen_trace(op, output, data, bytes) ((void)(data))"
    yield "#endif\n"


def _constants(emission: Emission) -> Iterator[str]:
    constants = emission.constants
    if not constants:
        return
    yield "static const struct {"
    for buffer in constants:
        aligned = f"__attribute__((aligned({emission.alignment})))"
        yield f"  {C_TYPES[buffer.dtype]} {buffer.name}[{elements(buffer)}] {aligned};"
    section = f'__attribute__((section("{emission.constants_section}")))'
    yield f"}} global_const_workspace {section} = {{"
    for buffer in constants:
        yield f"  .{buffer.name} = {{  // {' x '.join(map(str, buffer.shape))}"
        literals = _literals(np.asarray(buffer.value))
        for start in range(0, len(literals), _PER_LINE):
            yield f"    {', '.join(literals[start : start + _PER_LINE])},"
        yield "  },"
    yield "};\n"


def _literals(array: np.ndarray) -> list[str]:
    flat = array.ravel()
    if flat.dtype.kind == "f":
        return [float_literal(value, str(flat.dtype)) for value in flat]
    return [str(int(value)) for value in flat]


def _workspace(emission: Emission) -> Iterator[str]:
    if emission.memory.workspace_bytes and not emission.memory.pools:
        size = emission.macro("workspace_size")
        section = 'section(".bss.noinit.tvm")'
        yield f"static uint8_t global_workspace[{size}]"
        yield f"    __attribute__(({section}, aligned({emission.alignment})));\n"


def _main(emission: Emission) -> Iterator[str]:
    """The main function: pointers into workspace and constants, then the calls."""
    io = [] if emission.workspace_io else [*emission.program.inputs, *emission.program.outputs]
    params = [f"{pointer(b, b.kind == 'input')}{b.name}" for b in io]
    if emission.states:
        params.append(state_pointer(emission))
    params += pool_parameters(emission)
    yield f"static int32_t {emission.symbol('__tvm_main__')}({', '.join(params) or 'void'}) {{"
    for buffer in io:
        if buffer not in emission.used:
            yield f"  (void){buffer.name};"
    yield from _body(emission, emission.main)
    yield "}\n"
    if emission.reset is not None:
        yield f"int32_t {emission.symbol('reset')}({state_pointer(emission)}) {{"
        yield from _body(emission, emission.reset)
        yield "}\n"


def _body(emission: Emission, main: TirMain) -> Iterator[str]:
    """Pointers to the buffers that are no parameters, and the statements."""
    names = dict(zip(main.function.params, (b.name for b in main.buffers), strict=True))
    for buffer in main.buffers:
        if buffer in emission.memory.places and buffer in emission.used:
            start = pointer(buffer, buffer.kind == "input")
            yield f"  {start}const {buffer.name} = {address(emission, buffer)};"
        elif buffer.kind == "constant":
            place = f"global_const_workspace.{buffer.name}"
            yield f"  {pointer(buffer, True)}const {buffer.name} = {place};"
        elif buffer.kind == "state":
            yield f"  {pointer(buffer, False)}const {buffer.name} = state->{buffer.name};"
    calls = (s for s, _ in emission.program.flat() if isinstance(s, Call))
    for line in FunctionPrinter(main.function, names).body():
        called = line.strip().split("(")[0] in emission.order
        yield from _hooked(line, next(calls), emission) if called else (line,)
    yield "  return 0;"


def _hooked(line: str, call: Call, emission: Emission) -> Iterator[str]:
    """The ``line`` that makes ``call`` between hooks, the last of which see its results."""
    indent, _, arguments = line.partition(call.function)
    op = emission.order.index(call.function)
    yield f"{indent}tvmgen_profile_begin({op});"
    yield f"{indent}{emission.symbol(call.function)}{arguments}"
    yield f"{indent}tvmgen_profile_end({op});"
    pointers = arguments.strip("();").split(", ")[len(call.inputs) :]
    for output, view in enumerate(call.results):
        yield f"{indent}tvmgen_trace({op}, {output}, {pointers[output]}, {view.nbytes});"


def _maps(emission: Emission) -> Iterator[str]:
    """The functions that tell where inputs and outputs lie, if that is in the workspace."""
    if not emission.workspace_io:
        return
    program = emission.program
    for kind, buffers in (("inputs", program.inputs), ("outputs", program.outputs)):
        yield f"{map_prototype(emission, kind)} {{"
        yield f"  struct tvmgen_{emission.name}_{kind} {kind};"
        yield from (f"  {kind}.{b.name} = {address(emission, b)};" for b in buffers)
        yield f"  return {kind};"
        yield "}\n"


def _entry(emission: Emission) -> Iterator[str]:
    yield f"{entry_prototype(emission)} {{"
    fields = [f"inputs->{b.name}" for b in emission.program.inputs]
    fields += [f"outputs->{b.name}" for b in emission.program.outputs]
    fields = [] if emission.workspace_io else fields
    fields += ["state"] if emission.states else []
    fields += ["workspace_pools"] if emission.memory.pools else []
    yield f"  return {emission.symbol('__tvm_main__')}({', '.join(fields)});"
    yield "}"
