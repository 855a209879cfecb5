"""The instructions that every call of a trial executes, from the emulator's log.

QEMU translates code in blocks. Its log (``-d in_asm,exec,nochain``) lists the instructions of each
block when it is translated, and names the block whenever it is executed:

    IN: kernel
    0x000006b8:  b508       push     {r3, lr}

    Trace 0: 0x7f775c000100 [00800408/000006b8/00000110/ff020200] kernel

The bracket is what a block depends on. It is logged before the block runs, which the instruction
counter may prevent: that is logged, too. Blocks of SysTick's handler lie between those of a kernel
and are left out. Nothing of the log is kept but how often one block followed another.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tvm_kp.board import emulator, toolchain
from tvm_kp.errors import RunError
from tvm_kp.target import Target

_LABEL = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_LINE = re.compile(r"^ *([0-9a-f]+):\t((?:[0-9a-f]{4} ?)+)\s*\t(\S+)(?:\t([^@;]*))?")
# As templates/trials/isolate.c and templates/firmware/measure.c have them.
_CALLER, _HANDLER = "call_on_stack", "SysTick_Handler"


class Operation(NamedTuple):
    """What an instruction does, in objdump's words."""

    name: str
    operands: str


class Instruction(NamedTuple):
    """An operation at ``address``; ``end`` is behind it."""

    address: int
    end: int
    operation: Operation


@dataclass(frozen=True, eq=False)
class Block:
    """Instructions that are executed one after the other: their addresses."""

    addresses: tuple[int, ...]


# How often a block was left for an address.
Steps = Counter[tuple[Block, int]]


def instructions(steps: Steps) -> int:
    """How many were executed: those of the kernel, and the call."""
    return sum(count * len(block.addresses) for (block, _), count in steps.items())


def disassemble(image: Path, target: Target) -> dict[str, list[Instruction]]:
    """The instructions of ``image`` by the labels before them. Raises MissingToolError."""
    command = [str(toolchain.find(target, "objdump")), "-d", str(image)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    labels: dict[str, list[Instruction]] = {}
    listing: list[Instruction] = []
    for line in text.splitlines():
        if label := _LABEL.match(line):
            listing = labels.setdefault(label[1], [])
        elif found := _LINE.match(line):
            begin, end = int(found[1], 16), int(found[1], 16) + 2 * len(found[2].split())
            operation = Operation(found[3], (found[4] or "").strip())
            listing.append(Instruction(begin, end, operation))
    return labels


def trace(
    image: Path, target: Target, folder: Path, labels: Mapping[str, Sequence[Instruction]]
) -> list[Steps]:
    """The steps of each call that ``folder``/inputs.bin asks for. ``labels``: the disassembly.

    No time-out: these calls have ended before, and a call is the same each time.

    Raises MissingToolError, RunError.
    """
    command = [*emulator.command(image, target), "-d", "in_asm,exec,nochain"]
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,  # where the log goes
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr is not None
        try:
            calls = list(_calls(_executed(process.stderr), labels))
            status = process.wait()
        finally:
            process.kill()
    if status != 0:
        raise RunError(f"{target.name} ended with status {status} when traced")
    return calls[1:]  # the first is of a kernel of the harness


def _executed(log: Iterable[str]) -> Iterator[Block]:
    """The blocks of ``log`` as they were executed."""
    blocks: dict[str, Block] = {}
    listing: list[int] = []
    last: Block | None = None
    for line in log:
        if line.startswith("Trace "):
            if last:
                yield last
            key = line[line.index("[") : line.index("]")]
            if listing:
                blocks[key] = Block(tuple(listing))
                listing = []
            if key not in blocks:
                raise RunError(
                    "qemu-system-arm does not list the instructions that it executes; "
                    "install one that is built with capstone"
                )
            last = blocks[key]
        elif line.startswith("0x"):
            listing.append(int(line[: line.index(":")], 16))
        elif line.startswith("IN:"):
            listing = []
        elif line.startswith("Stopped execution"):
            last = None
    if last:
        yield last


def _calls(
    executed: Iterable[Block], labels: Mapping[str, Sequence[Instruction]]
) -> Iterator[Steps]:
    """What lies between the call of a kernel and its return, for each call."""
    (call,) = (i for i in labels[_CALLER] if i.operation.name == "blx")
    handler = {i.address for i in labels[_HANDLER]}
    steps: Steps = Counter()
    last: Block | None = None
    for block in executed:
        begin = block.addresses[0]
        if last and begin not in handler:
            steps[last, begin] += 1
            last = block
        if last and begin == call.end:
            yield steps
            last = None
        if block.addresses[-1] == call.address:
            steps, last = Counter(), Block((call.address,))
