"""A planned program -> the C sources and the header of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tvm import tirx

from tvm_kp.c.expressions import C_TYPES, float_literal
from tvm_kp.c.functions import FunctionPrinter
from tvm_kp.c.names import c_name
from tvm_kp.c.program import Buffer, Call, Program
from tvm_kp.c.support import helpers
from tvm_kp.c.tir_main import TirMain

_PER_LINE = 12  # numbers in a line of a table

_MATH_CONSTANTS = ("NAN", "INFINITY")

_NO_EARLY_SCHEDULING = """\
#if defined(__GNUC__) && !defined(__clang__)
// GCC would move a load-multiple before the last use of its registers and save those elsewhere.
#pragma GCC optimize("no-schedule-insns")
#endif
"""


@dataclass(frozen=True)
class Emission:
    """Everything that the C of a model is made of; ``title`` is the text of its front matter.

    ``reset`` sets the states of a stream.
    """

    name: str
    title: str
    program: Program
    main: TirMain
    reset: TirMain | None
    operators: Mapping[str, tirx.PrimFunc]
    offsets: Mapping[Buffer, int]
    workspace_bytes: int
    alignment: int

    def symbol(self, name: str) -> str:
        return c_name(f"tvmgen_{self.name}_{name}")

    def macro(self, name: str) -> str:
        return self.symbol(name).upper()

    @property
    def states(self) -> tuple[Buffer, ...]:
        """The buffers of a stream's state, the fields of its struct."""
        return self.program.states

    @property
    def state_bytes(self) -> int:
        return sum(-(-b.nbytes // self.alignment) * self.alignment for b in self.states)

    @property
    def constants(self) -> tuple[Buffer, ...]:
        """The weights, and what states start as where that is not zero."""
        reset = () if self.reset is None else self.reset.buffers
        buffers = dict.fromkeys([*self.main.buffers, *reset])
        return tuple(buffer for buffer in buffers if buffer.kind == "constant")

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The operators in the order in which main first calls them: their profile ids."""
        calls = (s.function for s, _ in self.program.flat() if isinstance(s, Call))
        return tuple(dict.fromkeys(calls))

    @cached_property
    def used(self) -> set[Buffer]:
        """The root buffers that some statement reads or writes."""
        return {
            view.location()[0]
            for statement, _ in self.program.flat()
            for view in (*statement.inputs, *statement.outputs)
        }

    @cached_property
    def printers(self) -> dict[str, FunctionPrinter]:
        first_calls: dict[str, Call] = {}
        for call, _ in self.program.flat():
            if isinstance(call, Call):
                first_calls.setdefault(call.function, call)
        return {
            name: FunctionPrinter(
                self.operators[name],
                dict(zip(self.operators[name].params, _roles(first_calls[name]), strict=True)),
            )
            for name in self.order
        }

    @cached_property
    def aliased(self) -> dict[str, set[int]]:
        """For each operator the parameters that share memory with another in some call."""
        found: dict[str, set[int]] = {name: set() for name in self.order}
        for call, _ in self.program.flat():
            if isinstance(call, Call):
                views = (*call.inputs, *call.outputs)
                for a in range(len(views)):
                    for b in range(max(a + 1, len(call.inputs)), len(views)):
                        if views[a].overlaps(views[b]):
                            found[call.function] |= {a, b}
        return found

    def prototype(self, name: str) -> str:
        return f"void {self.symbol(name)}({self.printers[name].parameters(self.aliased[name])})"


def emit(emission: Emission) -> dict[str, str]:
    """The sources by file name: ``<mod>_lib0.c`` (entry, main, weights), ``<mod>_lib1.c``."""
    return {
        f"{emission.name}_lib0.c": "\n".join(_entry_file(emission)) + "\n",
        f"{emission.name}_lib1.c": "\n".join(_operator_file(emission)) + "\n",
    }


def _roles(call: Call) -> Iterator[str]:
    """A name for every parameter of an operator: what it is to a call."""
    for index, view in enumerate(call.inputs):
        yield f"{'weights' if view.buffer.kind == 'constant' else 'in'}{index}"
    for kind, views in (("out", call.results), ("scratch", call.scratch)):
        for index, _ in enumerate(views):
            yield f"{kind}{index}"


def _operator_file(emission: Emission) -> Iterator[str]:
    bodies = {name: printer.body() for name, printer in emission.printers.items()}
    used = set().union(*(p.helpers for p in emission.printers.values()))
    yield f"/* {emission.title}\n * The operators. */"
    yield "#include <stdint.h>"
    lines = (line for body in bodies.values() for line in body)
    constants = any(name in line for line in lines for name in _MATH_CONSTANTS)
    if constants or any(p.libm for p in emission.printers.values()):
        yield "#include <math.h>"
    yield ""
    if any(name.startswith("kp_load") for name in used):
        yield _NO_EARLY_SCHEDULING
    yield helpers(used)
    for name in emission.order:
        prototype = emission.prototype(name)
        yield f"{prototype};\n\n{prototype} {{"
        yield from bodies[name]
        yield "}\n"


def _entry_file(emission: Emission) -> Iterator[str]:
    yield f"/* {emission.title}\n * The entry, the main function and the weights. */"
    yield f'#include "tvmgen_{emission.name}.h"\n'
    yield "#include <string.h>"
    constants = list(_constants(emission))
    if any(name in line for line in constants for name in _MATH_CONSTANTS):
        yield "#include <math.h>"
    yield ""
    yield from _profile_hooks()
    for name in emission.order:
        yield f"{emission.prototype(name)};"
    yield ""
    yield from constants
    yield from _workspace(emission)
    yield from _main(emission)
    yield from _entry(emission)


def _profile_hooks() -> Iterator[str]:
    yield "#ifdef TVMGEN_PROFILE  // the harness measures between these calls"
    yield "void tvmgen_profile_begin(int32_t op);"
    yield "void tvmgen_profile_end(int32_t op);"
    yield "#else"
    yield "#define tvmgen_profile_begin(op) ((void)(op))"
    yield "#define tvmgen_profile_end(op) ((void)(op))"
    yield "#endif\n"


def _constants(emission: Emission) -> Iterator[str]:
    constants = emission.constants
    if not constants:
        return
    yield "static const struct {"
    for buffer in constants:
        aligned = f"__attribute__((aligned({emission.alignment})))"
        yield f"  {C_TYPES[buffer.dtype]} {buffer.name}[{_elements(buffer)}] {aligned};"
    yield '} global_const_workspace __attribute__((section(".rodata.tvm"))) = {'
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
    if emission.workspace_bytes:
        size = emission.macro("workspace_size")
        section = 'section(".bss.noinit.tvm")'
        yield f"static uint8_t global_workspace[{size}]"
        yield f"    __attribute__(({section}, aligned({emission.alignment})));\n"


def _main(emission: Emission) -> Iterator[str]:
    """The main function: pointers into workspace and constants, then the calls."""
    io = [b for b in emission.main.buffers if b.kind in ("input", "output")]
    params = [f"{_pointer(b, b.kind == 'input')}{b.name}" for b in io]
    if emission.states:
        params.append(_state_pointer(emission))
    yield f"static int32_t {emission.symbol('__tvm_main__')}({', '.join(params)}) {{"
    for buffer in io:
        if buffer not in emission.used:
            yield f"  (void){buffer.name};"
    yield from _body(emission, emission.main)
    yield "}\n"
    if emission.reset is not None:
        yield f"int32_t {emission.symbol('reset')}({_state_pointer(emission)}) {{"
        yield from _body(emission, emission.reset)
        yield "}\n"


def _body(emission: Emission, main: TirMain) -> Iterator[str]:
    """Pointers to the buffers that are no parameters, and the statements."""
    names = dict(zip(main.function.params, (b.name for b in main.buffers), strict=True))
    for buffer in main.buffers:
        if buffer.kind == "workspace":
            place = f"(void *)&global_workspace[{emission.offsets[buffer]}]"
            yield f"  {_pointer(buffer, False)}const {buffer.name} = {place};"
        elif buffer.kind == "constant":
            place = f"global_const_workspace.{buffer.name}"
            yield f"  {_pointer(buffer, True)}const {buffer.name} = {place};"
        elif buffer.kind == "state":
            yield f"  {_pointer(buffer, False)}const {buffer.name} = state->{buffer.name};"
    for line in FunctionPrinter(main.function, names).body():
        yield from _profiled(line, emission)
    yield "  return 0;"


def _state_pointer(emission: Emission) -> str:
    return f"struct tvmgen_{emission.name}_state* state"


def _profiled(line: str, emission: Emission) -> Iterator[str]:
    called, indent = line.strip().split("(")[0], line[: len(line) - len(line.lstrip())]
    if called not in emission.order:
        yield line
        return
    index = emission.order.index(called)
    yield f"{indent}tvmgen_profile_begin({index});"
    yield f"{indent}{emission.symbol(called)}{line.strip()[len(called) :]}"
    yield f"{indent}tvmgen_profile_end({index});"


def _entry(emission: Emission) -> Iterator[str]:
    yield f"{_entry_prototype(emission)} {{"
    fields = [f"inputs->{b.name}" for b in emission.program.inputs]
    fields += [f"outputs->{b.name}" for b in emission.program.outputs]
    fields += ["state"] if emission.states else []
    yield f"  return {emission.symbol('__tvm_main__')}({', '.join(fields)});"
    yield "}"


def _entry_prototype(emission: Emission) -> str:
    prefix = f"struct tvmgen_{emission.name}"
    params = [f"{prefix}_inputs* inputs", f"{prefix}_outputs* outputs"]
    params += [_state_pointer(emission)] if emission.states else []
    entry = emission.symbol("step" if emission.states else "run")
    return f"int32_t {entry}({', '.join(params)})"


def emit_header(emission: Emission) -> str:
    """``tvmgen_<mod>.h``, for C99 and C++."""
    guard = c_name(f"TVMGEN_{emission.name}_H_").upper()
    lines = [f"/* {emission.title} */", f"#ifndef {guard}\n#define {guard}\n"]
    lines += ["#include <stdint.h>\n", '#ifdef __cplusplus\nextern "C" {\n#endif\n']
    program = emission.program
    for buffer in (*program.inputs, *program.outputs):
        macro = emission.macro(f"{buffer.name}_size")
        lines += [f"/*! \\brief {_describe(buffer)}, bytes. */", f"#define {macro} {buffer.nbytes}"]
    lines += ["/*! \\brief Working memory, bytes; it is allocated by the model itself. */"]
    lines += [f"#define {emission.macro('workspace_size')} {emission.workspace_bytes}"]
    lines += ["/*! \\brief Number of operators that a profile build reports. */"]
    lines += [f"#define {emission.macro('operator_count')} {len(emission.order)}\n"]
    for kind, buffers in (("inputs", program.inputs), ("outputs", program.outputs)):
        lines += [f"/*! \\brief Pointers to the {kind}. */"]
        lines += [f"struct tvmgen_{emission.name}_{kind} {{"]
        lines += [f"  void* {buffer.name};  // {_describe(buffer)}" for buffer in buffers]
        lines += ["};\n"]
    lines += _state_declarations(emission)
    what = "One time step of a stream" if emission.states else "One inference"
    lines += [f"/*! \\brief {what}; 0 on success. */", f"{_entry_prototype(emission)};\n"]
    lines += ["#ifdef __cplusplus\n}\n#endif\n", f"#endif  // {guard}"]
    return "\n".join(lines) + "\n"


def _state_declarations(emission: Emission) -> list[str]:
    if not emission.states:
        return []
    aligned = f"__attribute__((aligned({emission.alignment})))"
    return [
        "/*! \\brief What a stream keeps from one time step to the next; one for each stream. */",
        f"struct tvmgen_{emission.name}_state {{",
        *(f"  {C_TYPES[b.dtype]} {b.name}[{_elements(b)}] {aligned};" for b in emission.states),
        "};\n",
        "/*! \\brief Size of a stream's state, bytes. */",
        f"#define {emission.macro('state_size')} {emission.state_bytes}\n",
        "/*! \\brief Set a state to the start of a sequence; 0 on success. */",
        f"int32_t {emission.symbol('reset')}({_state_pointer(emission)});\n",
    ]


def _describe(buffer: Buffer) -> str:
    return f"{buffer.name}: {buffer.dtype}[{', '.join(map(str, buffer.shape))}]"


def _pointer(buffer: Buffer, const: bool) -> str:
    return f"{'const ' if const else ''}{C_TYPES[buffer.dtype]} *"


def _elements(buffer: Buffer) -> int:
    return max(1, buffer.nbytes // np.dtype(buffer.dtype).itemsize)
