"""The main function before memory is planned: calls, copies and loops over buffers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Kind = Literal["input", "output", "constant", "workspace", "state"]


@dataclass(eq=False)
class Buffer:
    """Memory that holds one tensor, or, as a part of ``parent``, a piece of another buffer."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: Kind = "workspace"
    carried: bool = False  # keeps its value from one iteration of its loop to the next
    parent: Buffer | None = None
    offset: int = 0  # bytes into parent
    value: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def root(self) -> tuple[Buffer, int]:
        """The buffer that is not a part of another, and the offset into it in bytes."""
        buffer, offset = self, 0
        while buffer.parent is not None:
            buffer, offset = buffer.parent, offset + buffer.offset
        return buffer, offset


@dataclass(frozen=True)
class View:
    """A contiguous part of a buffer; in iteration t of its loop, ``stride`` * t further on."""

    buffer: Buffer
    shape: tuple[int, ...]
    dtype: str
    offset: int = 0
    stride: int = 0

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def is_whole(self) -> bool:
        return self.offset == 0 and self.stride == 0 and self.nbytes == self.buffer.nbytes

    def part(self, offset: int, shape: tuple[int, ...]) -> View:
        """The part ``offset`` bytes on, with another shape."""
        return View(self.buffer, shape, self.dtype, self.offset + offset, self.stride)

    def location(self) -> tuple[Buffer, int]:
        """Root buffer and byte offset (of iteration 0)."""
        root, offset = self.buffer.root()
        return root, offset + self.offset

    def overlaps(self, other: View) -> bool:
        (root, start), (other_root, other_start) = self.location(), other.location()
        if root is not other_root:
            return False
        if self.stride or other.stride:
            return True
        return start < other_start + other.nbytes and other_start < start + self.nbytes


@dataclass(frozen=True)
class Call:
    """Call of an operator: ``function(*inputs, *results, *scratch)``."""

    function: str
    inputs: tuple[View, ...]
    results: tuple[View, ...]
    scratch: tuple[View, ...] = ()

    @property
    def outputs(self) -> tuple[View, ...]:
        """Everything that the call writes to."""
        return (*self.results, *self.scratch)


@dataclass(frozen=True)
class Copy:
    """``target[…] = source[…]``."""

    source: View
    target: View

    inputs = property(lambda self: (self.source,))
    outputs = property(lambda self: (self.target,))


@dataclass(frozen=True)
class Zero:
    """``target[…] = 0``."""

    target: View

    inputs = property(lambda self: ())
    outputs = property(lambda self: (self.target,))


@dataclass(frozen=True, eq=False)
class Loop:
    """``body`` once per time step."""

    steps: int
    body: tuple[Call | Copy | Zero, ...]


@dataclass(frozen=True)
class Program:
    """A whole inference, or one step of a stream, whose states ``reset`` sets."""

    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    body: tuple[Call | Copy | Zero | Loop, ...] = field(default=())
    reset: tuple[Copy | Zero, ...] = ()

    @property
    def states(self) -> tuple[Buffer, ...]:
        """The buffers that a stream keeps from step to step."""
        return tuple(dict.fromkeys(set_.target.location()[0] for set_ in self.reset))

    def flat(self) -> Iterator[tuple[Call | Copy | Zero, Loop | None]]:
        """Every statement with the loop it is in."""
        for statement in self.body:
            if isinstance(statement, Loop):
                for inner in statement.body:
                    yield inner, statement
            else:
                yield statement, None
