"""What a model is compiled to: C sources, or an object by the LLVM that is inside of TVM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_kp.toml_record import expect, record

C, LLVM = "c", "llvm"
KINDS = (C, LLVM)
FLOAT_ABIS = ("soft", "hard")

# The options of LLVM as TVM calls them.
_OPTIONS = {"mtriple": "mtriple", "mattr": "mattr", "mfloat_abi": "mfloat-abi"}
_ARCHITECTURES = {
    "cortex-m0": "thumbv6m",
    "cortex-m0plus": "thumbv6m",
    "cortex-m3": "thumbv7m",
    "cortex-m4": "thumbv7em",
    "cortex-m7": "thumbv7em",
    "cortex-m33": "thumbv8m.main",
    "cortex-m55": "thumbv8.1m.main",
    "cortex-m85": "thumbv8.1m.main",
}
# TVM says that no two parameters share memory, even where some may; its ``noalias`` says it too,
# where that is so. Of straight lines LLVM 22 makes some vectors that it uses before they are there.
_OPTIONS_OF_LLVM = ["-enable-tbaa:bool=0", "-vectorize-slp:bool=0"]
# What LLVM gives to a core, of which a board may have less.
_FEATURES = {"dsp": "-dsp", "fpu": "-fpregs", "mve": "-mve", "mve.fp": "-mve.fp"}


@dataclass(frozen=True)
class Codegen:
    """``kind`` is one of `KINDS`; the others are options of LLVM, in place of what the core, its
    features and the flags of the toolchain say."""

    kind: str = C
    mtriple: str = ""
    mattr: tuple[str, ...] = ()
    mfloat_abi: str = ""


def llvm_codegen(table: Mapping[str, Any], where: str) -> Codegen:
    """That of a target of TVM, ``{"kind": "llvm", …}``; options without a meaning here are left
    out. Raises TargetError for what cannot be."""
    given = {key: table[name] for key, name in _OPTIONS.items() if name in table}
    if isinstance(given.get("mattr"), str):
        given["mattr"] = given["mattr"].split(",")
    codegen = record(Codegen, {"kind": LLVM, **given}, where, "", ())
    validate(codegen, where)
    return codegen


def validate(codegen: Codegen, where: str) -> None:
    """Raises TargetError for an unknown kind, or options that are none."""
    good = codegen.kind in KINDS
    expect(good, where, "codegen.kind", f"is {codegen.kind!r}; there are {', '.join(KINDS)}")
    for key in _OPTIONS:
        good = codegen.kind == LLVM or not getattr(codegen, key)
        expect(good, where, f"codegen.{key}", f'is an option of LLVM: kind must be "{LLVM}"')
    good = codegen.mfloat_abi in ("", *FLOAT_ABIS)
    abis = ", ".join(FLOAT_ABIS)
    expect(good, where, "codegen.mfloat_abi", f"is {codegen.mfloat_abi!r}; there are {abis}")
    good = all(flag[:1] in ("+", "-") and flag[1:] for flag in codegen.mattr)
    expect(good, where, "codegen.mattr", 'must be features such as "+dsp" or "-fp64"')


def tvm_target(
    codegen: Codegen, core: str, can: Sequence[str], isa: Sequence[str], cflags: Sequence[str]
) -> dict[str, Any]:
    """The target of TVM for objects that link with what ``cflags`` make.

    ``can`` are the features that ``core`` can have, ``isa`` those that are there.
    """
    table: dict[str, Any] = {"kind": LLVM, "fast-math-contract": True, "cl-opt": _OPTIONS_OF_LLVM}
    if core not in _ARCHITECTURES:
        return table
    hard = "-mfloat-abi=hard" in cflags
    abi = codegen.mfloat_abi or ("hard" if hard else "soft")
    triple = f"{_ARCHITECTURES[core]}-none-eabi{'hf' if abi == 'hard' else ''}"
    # As GCC has it, a product and a sum are one instruction on every core that has it.
    fused = ["-slowfpvfmx", "-slowfpvmlx"] if "fpu" in isa else []
    lacking = [_FEATURES[name] for name in sorted(set(can) - set(isa))]
    # A compiler may be told of an FPU that has no double precision.
    lacking += ["-fp64"] if any("-sp-" in flag for flag in cflags) else []
    return {
        **table,
        "mtriple": _normal(codegen.mtriple or triple),
        "mcpu": core,
        "mattr": [*fused, *lacking, *codegen.mattr],
        "mfloat-abi": abi,
        "vector-width": 128 if "mve" in isa else 32,
    }


def _normal(triple: str) -> str:
    """With the vendor that is often left out: TVM has LLVM read the parts by their places."""
    parts = triple.split("-")
    return "-".join([parts[0], "unknown", *parts[1:]] if len(parts) == 3 else parts)
