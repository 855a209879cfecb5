"""The files between the harness of trials and the host, as templates/trials/main.c has them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

Call = tuple[int, np.ndarray]  # index of the trial, memory

_HEADER = struct.Struct("<IIQ")


def write_inputs(path: Path, calls: Sequence[Call]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<I", len(calls)))
        for index, memory in calls:
            file.write(_HEADER.pack(index, memory.nbytes, 0))
            file.write(memory.tobytes())


def read_outputs(path: Path, calls: Sequence[Call]) -> Iterator[tuple[int, np.ndarray]]:
    """Instructions and memory of each of ``calls``, in order, up to what cannot be one of them."""
    content = np.fromfile(path, np.uint8)
    begin = 0
    for index, memory in calls:
        body = begin + _HEADER.size
        end = body + memory.nbytes
        if end > content.size:
            return
        kernel, size, instructions = _HEADER.unpack(content[begin:body].tobytes())
        if (kernel, size) != (index, memory.nbytes):
            return
        yield instructions, content[body:end]
        begin = end
