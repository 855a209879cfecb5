"""The frozen values that pass between stages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Attributes of kernels, JSON: the indices of the operands that are constants wherever it is called,
# and the packing of an operand by its index.
CONSTANTS, PACKING = "kp.constants", "kp.packing"


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a compiled model; ``name`` is the field of the C struct.

    Integers stand for themselves times ``scale``; it is None for what is no quantized tensor.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Decision:
    """What was found in one dense operator, and what was done with it.

    ``shape`` is rows x columns of W; ``factors`` holds the shapes of the factors, (m1, n1) and
    (m2, n2) of A and B say, of every one of the ``blocks`` equal row blocks (the gates);
    ``terms`` is how many products of these shapes are added, ``rank`` the inner size of a
    product of low rank, ``split_row`` how many rows of a block stay dense above the factors, and
    ``nonzeros`` how many single entries of W are added. ``error`` is the relative Frobenius
    error of the structure; bytes are those of the weights without bias.
    """

    function: str
    operator: str
    shape: tuple[int, int]
    structure: str
    reason: str
    macs_before: int
    macs_after: int
    bytes_before: int
    bytes_after: int
    blocks: int = 1
    factors: tuple[tuple[int, int], ...] = ()
    order: str = ""
    error: float = 0.0
    terms: int = 1
    rank: int = 0
    split_row: int = 0
    nonzeros: int = 0

    @staticmethod
    def from_dict(entry: Mapping[str, Any]) -> Decision:
        """The decision that ``dataclasses.asdict`` and JSON made ``entry`` of."""
        shape = tuple(entry["shape"])
        factors = tuple(tuple(factor) for factor in entry["factors"])
        return Decision(**{**entry, "shape": shape, "factors": factors})


@dataclass(frozen=True)
class Recurrence:
    """A step of ``operators`` operators that an unrolled loop repeats ``steps`` times.

    It became a loop again unless there is a ``reason`` why it could not.
    """

    name: str
    steps: int
    operators: int
    reason: str = ""


@dataclass(frozen=True)
class OutputError:
    """What approximate weights change of one output, over all calibration inputs.

    ``largest`` is the largest absolute difference, ``relative`` the Frobenius norm of the
    difference over that of the exact output.
    """

    name: str
    largest: float
    relative: float


@dataclass(frozen=True)
class QuantizedTensor:
    """A tensor of a quantized model on the calibration inputs.

    Values between ``low`` and ``high`` are stored as ``bits`` that stand for themselves times
    ``scale``; ``saturated`` is the share of them that no such integer stands for, ``harmless``
    where sigmoid and tanh alone read them, which are flat there. ``snr_db`` compares it with the
    float model, in decibels; ``drift``, of a state, is its relative error after each time step.
    """

    name: str
    low: float
    high: float
    scale: float
    bits: int
    saturated: float
    harmless: bool
    snr_db: float
    drift: tuple[float, ...] = ()


@dataclass(frozen=True)
class Quantized:
    """How a model was quantized, to ``format``, and what that changes.

    ``calibration`` says what the inputs were, ``accuracies`` are those of the float and of the
    quantized model where there are labels.
    """

    format: str
    calibration: str
    records: int
    tensors: tuple[QuantizedTensor, ...]
    accuracies: tuple[float, float] | None = None


@dataclass(frozen=True)
class Packing:
    """The order in which a kernel reads a constant.

    The array is broadcast to ``shape``, padded with ``pad`` zeros at the end of every axis,
    taken apart into ``parts`` axes, and these are put into the order ``order``, outermost first.
    Where there is a ``dtype``, the numbers become such.
    """

    shape: tuple[int, ...]
    pad: tuple[int, ...]
    parts: tuple[int, ...]
    order: tuple[int, ...]
    dtype: str | None = None

    @property
    def size(self) -> int:
        return math.prod(self.parts)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """The packed array: one axis, the dtype of ``array`` unless there is another."""
        whole = np.pad(np.broadcast_to(array, self.shape), [(0, count) for count in self.pad])
        packed = whole.reshape(self.parts).transpose(self.order).ravel()
        return packed.astype(self.dtype or array.dtype)

    @staticmethod
    def from_dict(entry: Mapping[str, Any]) -> Packing:
        """The packing that ``dataclasses.asdict`` and JSON made ``entry`` of."""
        sizes = {name: value for name, value in entry.items() if name != "dtype"}
        return Packing(**{n: tuple(value) for n, value in sizes.items()}, dtype=entry["dtype"])


@dataclass(frozen=True)
class Operator:
    """One C function of a compiled model; its place in ``Model.operators`` is what hooks call it.

    ``output_dtypes`` are those of what it gives, in the order in which hooks number them;
    ``constants_bytes`` are those of the weights and tables that it reads, others may, too.
    """

    name: str
    workspace_bytes: int = 0
    output_dtypes: tuple[str, ...] = ()
    constants_bytes: int = 0


@dataclass(frozen=True)
class Pool:
    """A part of the workspace that the caller provides; ``nbytes`` of it are used."""

    name: str
    nbytes: int


@dataclass(frozen=True)
class Model:
    """A compiled network: plain C and everything known about it without running it.

    One whose ``state_bytes`` are not 0 is a stream: an inference is one time step. Of its
    ``constants_bytes``, ``tables_bytes`` are those of functions that are interpolated. ``relax``
    is the module that the C was made of as a text to read, ``relax_json`` as TVM reads it back.

    The workspace was planned by ``planner``; no plan in one piece needs less than
    ``workspace_bound`` bytes. It is the model's own unless there are ``pools``, which are aligned
    to ``pool_alignment`` bytes, and with ``workspace_io`` inputs and outputs lie in it.

    One of kind ``llvm`` has no ``sources`` but ``objects``, which run on ``core``: those in
    ``hooks/`` take the place of the others where hooks are wanted.
    """

    name: str
    target: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    header: str
    sources: Mapping[str, str]
    operators: tuple[Operator, ...]
    workspace_bytes: int
    constants_bytes: int
    decisions: tuple[Decision, ...] = ()
    relax: str = ""
    relax_json: str = ""
    params: bytes = b""
    state_bytes: int = 0
    tables_bytes: int = 0
    planner: str = ""
    workspace_bound: int = 0
    pools: tuple[Pool, ...] = ()
    pool_alignment: int = 8
    workspace_io: bool = False
    constants_section: str = ".rodata.tvm"
    objects: Mapping[str, bytes] = field(default_factory=dict)
    core: str = ""

    @property
    def header_name(self) -> str:
        return f"tvmgen_{self.name}.h"

    @property
    def entries(self) -> tuple[str, ...]:
        """The C functions that a caller uses."""
        names = ("step", "reset") if self.state_bytes else ("run",)
        return tuple(f"tvmgen_{self.name}_{name}" for name in names)

    @property
    def io_bytes(self) -> int:
        """What inputs and outputs need beside the workspace."""
        if self.workspace_io:
            return 0
        return sum(t.nbytes for t in (*self.inputs, *self.outputs))


@dataclass(frozen=True)
class Footprint:
    """Bytes of a model as its target's compiler, or LLVM, made it, without harness.

    ``tables_bytes`` are those of interpolated functions, ``code_bytes`` all that is neither these
    nor weights; ``ram_bytes`` leave out the stack, of which ``stack_bytes`` are used beside what
    the C library needs; ``sections`` is the table shown when something does not fit: (what,
    bytes), largest first. ``pools`` are the parts of the RAM that may lie in memories of their
    own, and ``constants_section`` is the section of weights and tables. LLVM does not say how
    much stack it uses, None; and without a linker functions of the C library, ``uncounted``, are
    known by name alone.
    """

    code_bytes: int
    weights_bytes: int
    ram_bytes: int
    sections: tuple[tuple[str, int], ...] = ()
    stack_bytes: int | None = 0
    tables_bytes: int = 0
    pools: tuple[Pool, ...] = ()
    constants_section: str = ""
    uncounted: tuple[str, ...] = ()

    @property
    def flash_bytes(self) -> int:
        return self.code_bytes + self.tables_bytes + self.weights_bytes


@dataclass(frozen=True)
class OperatorCount:
    """What one operator took, summed over its ``calls`` in one inference (median), in the unit of
    the `RunResult`."""

    name: str
    calls: int
    count: int


@dataclass(frozen=True)
class RunResult:
    """Outputs with a leading axis over the inferences, and what was measured.

    ``instructions`` is per inference and only set by an emulator, ``cycles`` by an attached board,
    ``seconds`` by the host.
    """

    outputs: Mapping[str, np.ndarray]
    instructions: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    operators: tuple[OperatorCount, ...] = field(default=())
    cycles: tuple[int, ...] = ()

    @property
    def unit(self) -> str:
        """What a board has counted."""
        return "cycles" if self.cycles else "instructions"

    @property
    def counts(self) -> tuple[int, ...]:
        """What a board has counted in every inference; nothing on the host."""
        return self.cycles or self.instructions
