"""The header of a model, for C99 and C++."""

from __future__ import annotations

from collections.abc import Mapping

from tvm_kp.c.emission import (
    Emission,
    elements,
    entry_prototype,
    map_prototype,
    state_pointer,
)
from tvm_kp.c.expressions import C_TYPES, float_literal
from tvm_kp.c.names import c_name
from tvm_kp.c.program import Buffer


def emit_header(emission: Emission, scales: Mapping[str, float | None]) -> str:
    """``tvmgen_<mod>.h``, for C99 and C++; ``scales`` are those of tensors of integers."""
    guard = c_name(f"TVMGEN_{emission.name}_H_").upper()
    lines = [f"/* {emission.title} */", f"#ifndef {guard}\n#define {guard}\n"]
    lines += ["#include <stdint.h>\n", '#ifdef __cplusplus\nextern "C" {\n#endif\n']
    program = emission.program
    for buffer in (*program.inputs, *program.outputs):
        macro = emission.macro(f"{buffer.name}_size")
        lines += [f"/*! \\brief {_describe(buffer)}, bytes. */", f"#define {macro} {buffer.nbytes}"]
        if (scale := scales.get(buffer.name)) is not None:
            lines += [f"/*! \\brief What an integer of {buffer.name} is multiplied by. */"]
            lines += [f"#define {emission.macro(f'{buffer.name}_scale')} {float_literal(scale)}"]
    owner = "in the caller's pools" if emission.memory.pools else "allocated by the model itself"
    lines += [f"/*! \\brief Working memory, bytes; it is {owner}. */"]
    lines += [f"#define {emission.macro('workspace_size')} {emission.memory.workspace_bytes}"]
    lines += ["/*! \\brief Number of operators that a profile build reports. */"]
    lines += [f"#define {emission.macro('operator_count')} {len(emission.order)}\n"]
    for kind, buffers in (("inputs", program.inputs), ("outputs", program.outputs)):
        lines += [f"/*! \\brief Pointers to the {kind}. */"]
        lines += [f"struct tvmgen_{emission.name}_{kind} {{"]
        lines += [f"  void* {buffer.name};  // {_describe(buffer)}" for buffer in buffers]
        lines += ["};\n"]
    lines += _pool_declarations(emission)
    lines += _map_declarations(emission)
    lines += _state_declarations(emission)
    what = "One time step of a stream" if emission.states else "One inference"
    lines += [f"/*! \\brief {what}; 0 on success. */", f"{entry_prototype(emission)};\n"]
    lines += ["#ifdef __cplusplus\n}\n#endif\n", f"#endif  // {guard}"]
    return "\n".join(lines) + "\n"


def _pool_declarations(emission: Emission) -> list[str]:
    pools = emission.memory.pools
    if not pools:
        return []
    lines = []
    for pool, nbytes in pools.items():
        lines += [f"/*! \\brief What is used of workspace pool {pool}, bytes. */"]
        lines += [f"#define {emission.macro(f'{pool}_workspace_pool_size')} {nbytes}"]
    return [
        *lines,
        f"/*! \\brief Pointers to the workspace pools, aligned to {emission.alignment} bytes. */",
        f"struct tvmgen_{emission.name}_workspace_pools {{",
        *(f"  void* {pool};" for pool in pools),
        "};\n",
    ]


def _map_declarations(emission: Emission) -> list[str]:
    if not emission.workspace_io:
        return []
    inputs, outputs = (map_prototype(emission, kind) for kind in ("inputs", "outputs"))
    return [
        "/*! \\brief Where inputs lie in the workspace; an inference overwrites them. */",
        f"{inputs};\n",
        "/*! \\brief Where outputs lie in the workspace, until inputs are written again. */",
        f"{outputs};\n",
    ]


def _state_declarations(emission: Emission) -> list[str]:
    if not emission.states:
        return []
    aligned = f"__attribute__((aligned({emission.alignment})))"
    return [
        "/*! \\brief What a stream keeps from one time step to the next; one for each stream. */",
        f"struct tvmgen_{emission.name}_state {{",
        *(f"  {C_TYPES[b.dtype]} {b.name}[{elements(b)}] {aligned};" for b in emission.states),
        "};\n",
        "/*! \\brief Size of a stream's state, bytes. */",
        f"#define {emission.macro('state_size')} {emission.state_bytes}\n",
        "/*! \\brief Set a state to the start of a sequence; 0 on success. */",
        f"int32_t {emission.symbol('reset')}({state_pointer(emission)});\n",
    ]


def _describe(buffer: Buffer) -> str:
    return f"{buffer.name}: {buffer.dtype}[{', '.join(map(str, buffer.shape))}]"
