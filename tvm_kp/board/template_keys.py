"""What the @KEYS@ of a template stand for: names, flags, and the parts of an example in C."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from tvm_kp import __version__
from tvm_kp.artifacts import Model, TensorSpec
from tvm_kp.board import toolchain
from tvm_kp.target import HOST, Target

SHOWN = 8  # values of each output that an example prints
KEYS = {
    "NAME": "the model's name, part of every C name",
    "UPPER_NAME": "the same in capitals",
    "EXAMPLE": "the same with a capital in front",
    "HEADER": "the header to include",
    "SOURCES": "paths of the C files, one a line",
    "CFLAGS": "how the C is compiled, without the flags of a core",
    "OPTIMIZATION": "the same without the standard of C",
    "TARGET": "the target that the model was compiled for",
    "COMPILED_FOR": "a sentence on what the C needs of a core and its compiler",
    "CACHE_VARIABLES": "CMake's variables for that target, as JSON",
    "VERSION": "the version of tvm_kp",
    "BUFFERS": "C: arrays for inputs, outputs and workspace pools, and the state of a stream",
    "INPUTS": "C: what the struct of inputs is initialized with",
    "OUTPUTS": "C: what the struct of outputs is initialized with",
    "SET_INPUTS": "C: calls of memset that make every input zeros",
    "FAILED": "C: an expression that runs the model, true if that failed",
    "SHOW_OUTPUTS": "C: calls of show(name, index, value) for the first values of each output",
    "FIRST_OUTPUT": "name of the first output",
}
# What C and C++ call a type; the others are called as in NumPy with _t behind.
_C_TYPES = {"float32": "float", "float64": "double", "bool": "uint8_t"}


def values(model: Model, target: Target | None) -> dict[str, str]:
    """What each of `KEYS` is for ``model``."""
    filled = {
        "NAME": model.name,
        "UPPER_NAME": model.name.upper(),
        "EXAMPLE": example_name(model.name),
        "HEADER": model.header_name,
        "SOURCES": "\n".join(f"  model/{name}" for name in _linked(model)),
        "CFLAGS": " ".join(toolchain.COMMON_CFLAGS),
        "OPTIMIZATION": " ".join(toolchain.COMMON_CFLAGS[1:]),
        "TARGET": model.target,
        "COMPILED_FOR": _compiled_for(model, target),
        "CACHE_VARIABLES": json.dumps(_cache_variables(target)),
        "VERSION": __version__,
        **_example_parts(model),
    }
    assert filled.keys() == KEYS.keys()
    return filled


def _linked(model: Model) -> list[str]:
    """The files that make a model, without hooks."""
    return [*model.sources, *(name for name in model.objects if "/" not in name)]


def _compiled_for(model: Model, target: Target | None) -> str:
    if target is None:
        return f"The C was compiled for {model.target} and may use instructions of its core."
    if target.core == HOST:
        return "The C was compiled for the target host: plain C99, with instructions of no core."
    has = ", ".join((target.core, *target.isa))
    if model.objects:
        return f"The object was compiled for {target.name} ({has})\nand runs on that core alone."
    return (
        f"The C was compiled for {target.name} ({has}) and may use\ninstructions of that core: "
        f"compile it with GCC or clang and\n`{' '.join(target.toolchain.cflags)}`,\n"
        "or for a core that has as much."
    )


def _cache_variables(target: Target | None) -> dict[str, str]:
    """What makes CMake build for ``target``; nothing makes it build for this computer."""
    if target is None or target.core == HOST:
        return {}
    return {
        "CMAKE_SYSTEM_NAME": "Generic",
        "CMAKE_SYSTEM_PROCESSOR": target.core,
        "CMAKE_C_COMPILER": target.toolchain.prefix + "gcc",
        "CMAKE_C_FLAGS": " ".join(target.toolchain.cflags),
        # Programs for a bare machine do not link by themselves.
        "CMAKE_TRY_COMPILE_TARGET_TYPE": "STATIC_LIBRARY",
    }


def example_name(name: str) -> str:
    """What Arduino's example is called."""
    return name[:1].upper() + name[1:]


def _example_parts(model: Model) -> dict[str, str]:
    """The parts of an example, C and C++ alike."""
    return {
        "BUFFERS": "\n".join(_buffers(model)),
        **{kind.upper(): _initializer(model, kind) for kind in ("inputs", "outputs")},
        "SET_INPUTS": "\n".join(
            f"  memset(inputs.{t.name}, 0, {_macro(model, t.name)}_SIZE);" for t in model.inputs
        ),
        "FAILED": " || ".join(f"{call} != 0" for call in _calls(model)),
        "SHOW_OUTPUTS": "\n".join(map(_show, model.outputs)),
        "FIRST_OUTPUT": model.outputs[0].name,
    }


def _buffers(model: Model) -> Iterator[str]:
    """What the caller owns of a model's memory."""
    if not model.workspace_io:
        for kind, tensors in (("input", model.inputs), ("output", model.outputs)):
            for t in tensors:
                shape = " x ".join(map(str, t.shape)) or "a scalar"
                name = f"{kind}_{t.name}[{math.prod(t.shape)}]"
                yield f"static {_c_type(t)} {name} __attribute__((aligned(16)));  // {shape}"
    for pool in model.pools:
        name = f"pool_{pool.name}[{_macro(model, pool.name)}_WORKSPACE_POOL_SIZE]"
        yield f"static uint8_t {name} __attribute__((aligned({model.pool_alignment})));"
    if model.pools:
        names = ", ".join(f"pool_{pool.name}" for pool in model.pools)
        yield f"static struct tvmgen_{model.name}_workspace_pools pools = {{{names}}};"
    if model.state_bytes:
        yield f"static struct tvmgen_{model.name}_state state;"


def _initializer(model: Model, kind: str) -> str:
    if model.workspace_io:
        return f"tvmgen_{model.name}_map_{kind}({'&pools' if model.pools else ''})"
    return f"{{{', '.join(f'{kind[:-1]}_{t.name}' for t in getattr(model, kind))}}}"


def _calls(model: Model) -> Iterator[str]:
    """The calls of a first inference, each of which answers 0."""
    entry, *resets = model.entries
    yield from (f"{reset}(&state)" for reset in resets)
    arguments = [] if model.workspace_io else ["&inputs", "&outputs"]
    arguments += ["&state"] if resets else []
    arguments += ["&pools"] if model.pools else []
    yield f"{entry}({', '.join(arguments)})"


def _show(tensor: TensorSpec) -> str:
    count = min(SHOWN, math.prod(tensor.shape))
    value = f"(double)((const {_c_type(tensor)} *)outputs.{tensor.name})[i]"
    return f'  for (int i = 0; i < {count}; ++i) show("{tensor.name}", i, {value});'


def _c_type(tensor: TensorSpec) -> str:
    return _C_TYPES.get(tensor.dtype, f"{tensor.dtype}_t")


def _macro(model: Model, name: str) -> str:
    return f"TVMGEN_{model.name}_{name}".upper()
