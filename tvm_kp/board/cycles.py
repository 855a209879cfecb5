"""An estimate of the cycles of a call: its instructions, each at what ARM says it costs.

The costs and rules are those of
  [M4] Cortex-M4 Technical Reference Manual (ARM 100166, earlier DDI 0439): 3.3.1 and 3.3.2 for the
       instructions and for pairs of loads and stores, chapter 7 with table 7-1 for the FPU;
  [M3] Cortex-M3 Technical Reference Manual (DDI 0337): 3.3.1 and 3.3.2.

Between an instruction and the next:
  - a load after a load costs 1 instead of 2, and a store with an offset in a register likewise,
    unless its address is what was loaded [3.3.2]. The manual of the FPU is silent: VLDR and VSTR
    of a float are taken to do as LDR and STR do, as GCC has it (gcc/config/arm/cortex-m4-fpu.md);
  - an address that the instruction before computed costs 1 more [3.3.2];
  - a result of the FPU that the next instruction reads costs 1 more, but not if it is the addend
    of a multiplication with addition [chapter 7].

What is assumed where the manuals give a range: P, the cycles that refill the pipeline after a
branch (1 to 3), is 2, and 3 where the target comes from memory [3.3.2]; the rest is in the middle:
SDIV and UDIV 7 (2 to 12), on a Cortex-M3 SMULL and UMULL 4 (3 to 5), SMLAL and UMLAL 5.5 (4 to 7).

Not in the model: wait states, prefetching and caches of a flash, conflicts on a bus, data that is
not aligned, integer instructions that run while VDIV, VSQRT or a multiplication with addition is
at work. An instruction that an IT block skips costs what it costs when executed, and IT costs 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from tvm_kp.board.trace import (
    Block,
    Instruction,
    Operation,
    Steps,
    disassemble,
    instructions,
    trace,
)
from tvm_kp.errors import TargetError
from tvm_kp.target import Target

_REFILL, _REFILL_AFTER_LOAD = 2, 3

_DIVISIONS = {"sdiv": 7, "udiv": 7}
_MACS = ("vmla", "vmls", "vnmla", "vnmls", "vfma", "vfms", "vfnma", "vfnms")
# What an instruction costs whose name begins like this; all others, and not accesses, cost 1.
_COSTS: dict[str, dict[str, float]] = {
    "cortex-m3": {
        **_DIVISIONS,
        **{"mla": 2, "mls": 2, "smull": 4, "umull": 4, "smlal": 5.5, "umlal": 5.5},
    },
    "cortex-m4": {**_DIVISIONS, **dict.fromkeys(_MACS, 3), "vdiv": 14, "vsqrt": 14},
}

_LOADS, _STORES = ("ldr", "vldr"), ("str", "vstr")
_MULTIPLE = ("ldm", "stm", "push", "pop", "vldm", "vstm", "vpush", "vpop")
_TABLE_BRANCHES = ("tbb", "tbh")
_ACCESSES = (*_LOADS, *_STORES, *_MULTIPLE, *_TABLE_BRANCHES)
_COMPARISONS = ("cmp", "cmn", "tst", "teq", "cbz", "cbnz")
_FLOAT_ARITHMETIC = (*_MACS, "vadd", "vsub", "vmul", "vnmul", "vdiv", "vsqrt", "vcvt")
_READERS = ("vcmp", "vstr", "vpush")  # of their first operand

# Kernels consist of few different operations, executed again and again.
_remember = lru_cache(maxsize=1 << 16)

_REGISTER = re.compile(r"\b(?:r\d+|sl|fp|ip|sp|lr|pc)\b")
_FLOATS = re.compile(r"\b([sd])(\d+)(?:-[sd](\d+))?")
_OFFSET_IN_REGISTER = re.compile(r"\[\w+, [a-z]")


def check(target: Target) -> None:
    """Raises TargetError if the cycles of ``target``'s core cannot be estimated."""
    if target.core not in _COSTS:
        raise TargetError(
            f"the cycles of {target.name} cannot be estimated: its core is a {target.core}, and "
            f"simple costs of instructions are published for {' and '.join(_COSTS)}; "
            "count instructions, or choose a board with one of these"
        )


def estimate(image: Path, target: Target, folder: Path) -> list[tuple[int, float]]:
    """Instructions and cycles of each call that ``folder``/inputs.bin asks ``image`` for.

    Both with the call and the return. Raises MissingToolError, RunError.
    """
    labels = disassemble(image, target)
    code = {i.address: i for listing in labels.values() for i in listing}
    calls = trace(image, target, folder, labels)
    return [(instructions(steps), _cycles(steps, code, target.core)) for steps in calls]


def _cycles(steps: Steps, code: Mapping[int, Instruction], core: str) -> float:
    return float(sum(n * _step(*step, code, core) for step, n in steps.items()))


def _step(block: Block, following: int, code: Mapping[int, Instruction], core: str) -> float:
    """The cycles of ``block`` when ``following`` is the address behind it."""
    listing = [code[address] for address in (*block.addresses, following)]
    return sum(
        cost(a.operation, core)
        + (_between(a.operation, b.operation) if a.end == b.address else _refill(a.operation))
        for a, b in pairwise(listing)
    )


@_remember
def cost(operation: Operation, core: str) -> float:
    """The cycles of ``operation`` alone, without what filling the pipeline again costs."""
    name, operands = operation
    if name.startswith(_ACCESSES):
        return _access(operation)
    if name.startswith("vmov") and "[" not in operands and _REGISTER.search(operands):
        return 2
    return next((c for prefix, c in _COSTS[core].items() if name.startswith(prefix)), 1)


def _access(operation: Operation) -> int:
    name, operands = operation
    if name.startswith(_MULTIPLE):
        registers = operands[operands.index("{") :]
        return 1 + len(_floats(registers) or _REGISTER.findall(registers))
    is_double = name.startswith(("vldr", "vstr")) and operands.startswith("d")
    if is_double or name.startswith(("ldrd", "strd", *_TABLE_BRANCHES)):
        return 3
    return 1 if name.startswith(_STORES) and not _OFFSET_IN_REGISTER.search(operands) else 2


def _refill(branch: Operation) -> int:
    """What it costs to go on elsewhere after ``branch``."""
    return _REFILL_AFTER_LOAD if branch.name.startswith(_ACCESSES) else _REFILL


@_remember
def _between(first: Operation, second: Operation) -> int:
    """What it costs more, or less, that ``second`` comes after ``first``."""
    result = first.operands.partition(",")[0]
    if first.name.startswith(_FLOAT_ARITHMETIC):
        return int(not _floats(result).isdisjoint(_floats_read(second)))
    waits = result in _address(second)
    if first.name.startswith(_ACCESSES):
        overlaps = first.name.startswith(_LOADS) and _is_short(first) and _is_short(second)
        return -int(overlaps and not waits)
    return int(waits and not first.name.startswith(_COMPARISONS))


def _is_short(operation: Operation) -> bool:
    """Whether it is a load or a store of two cycles, the second of which can be another's first."""
    is_single = operation.name.startswith((*_LOADS, *_STORES))
    return is_single and _access(operation) == 2 and not operation.operands.startswith("pc,")


def _address(operation: Operation) -> list[str]:
    """The registers that a load or a store makes its address of."""
    if not operation.name.startswith(_ACCESSES):
        return []
    before_list = operation.operands.partition("{")[0]
    return _REGISTER.findall(before_list[before_list.find("[") + 1 :])


def _floats(text: str) -> frozenset[int]:
    """The numbers of the floats' registers in ``text``; a register of a double is two."""
    found: set[int] = set()
    for kind, first, last in _FLOATS.findall(text):
        width = 2 if kind == "d" else 1
        found.update(range(width * int(first), width * (int(last or first) + 1)))
    return frozenset(found)


def _floats_read(operation: Operation) -> frozenset[int]:
    """The floats' registers that must be there when ``operation`` begins.

    The first operand is a result, or the addend of a multiplication, which is needed later.
    """
    name, operands = operation
    if name.startswith(("vldm", "vpop")):
        return frozenset()
    return _floats(operands if name.startswith(_READERS) else operands.partition(",")[2])
