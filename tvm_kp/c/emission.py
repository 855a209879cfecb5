"""Everything that the C of a model is made of, and the names in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tvm import tirx

from tvm_kp.c.expressions import C_TYPES
from tvm_kp.c.functions import FunctionPrinter
from tvm_kp.c.join_parameters import Joined
from tvm_kp.c.memory import Memory
from tvm_kp.c.memory_settings import CONSTANTS_SECTION
from tvm_kp.c.names import c_name
from tvm_kp.c.program import Buffer, Call, Program
from tvm_kp.c.tir_main import TirMain
from tvm_kp.optimization import SPEED


@dataclass(frozen=True)
class Emission:
    """Everything that the C of a model is made of; ``title`` is the text of its front matter.

    ``reset`` sets the states of a stream; ``joined`` says which parameters ``operators`` had.
    """

    name: str
    title: str
    program: Program
    main: TirMain
    reset: TirMain | None
    operators: Mapping[str, tirx.PrimFunc]
    joined: Mapping[str, tuple[Joined, ...]]
    memory: Memory
    alignment: int
    constants_section: str = CONSTANTS_SECTION
    optimize: str = SPEED

    def symbol(self, name: str) -> str:
        return c_name(f"tvmgen_{self.name}_{name}")

    def macro(self, name: str) -> str:
        return self.symbol(name).upper()

    @property
    def workspace_io(self) -> bool:
        """Whether inputs and outputs lie in the workspace, where a caller has to ask for them."""
        io = (*self.program.inputs, *self.program.outputs)
        return any(buffer in self.memory.places for buffer in io)

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

    @cached_property
    def calls(self) -> dict[str, int]:
        """How often each operator is called in an inference."""
        counts = dict.fromkeys(self.order, 0)
        for call, loop in self.program.flat():
            if isinstance(call, Call):
                counts[call.function] += 1 if loop is None else loop.steps
        return counts

    def prototype(self, name: str) -> str:
        return f"void {self.symbol(name)}({self.printers[name].parameters(self.aliased[name])})"


def pointer(buffer: Buffer, const: bool) -> str:
    return f"{'const ' if const else ''}{C_TYPES[buffer.dtype]} *"


def elements(buffer: Buffer) -> int:
    return max(1, buffer.nbytes // np.dtype(buffer.dtype).itemsize)


def address(emission: Emission, buffer: Buffer) -> str:
    """The C expression of where a planned buffer lies."""
    pool, offset = emission.memory.places[buffer]
    start = f"((uint8_t *)workspace_pools->{pool})" if pool else "global_workspace"
    return f"(void *)&{start}[{offset}]"


def state_pointer(emission: Emission) -> str:
    return f"struct tvmgen_{emission.name}_state* state"


def pool_parameters(emission: Emission) -> list[str]:
    """The parameter that functions take which reach into the pools, if there are any."""
    one = f"struct tvmgen_{emission.name}_workspace_pools* workspace_pools"
    return [one] if emission.memory.pools else []


def entry_prototype(emission: Emission) -> str:
    prefix = f"struct tvmgen_{emission.name}"
    params = [f"{prefix}_inputs* inputs", f"{prefix}_outputs* outputs"]
    params = [] if emission.workspace_io else params
    params += [state_pointer(emission)] if emission.states else []
    params += pool_parameters(emission)
    entry = emission.symbol("step" if emission.states else "run")
    return f"int32_t {entry}({', '.join(params) or 'void'})"


def map_prototype(emission: Emission, kind: str) -> str:
    """Of the function that tells where ``kind``, inputs or outputs, lie in the workspace."""
    params = ", ".join(pool_parameters(emission)) or "void"
    return f"struct tvmgen_{emission.name}_{kind} {emission.symbol(f'map_{kind}')}({params})"


def _roles(call: Call) -> Iterator[str]:
    """A name for every parameter of an operator: what it is to a call."""
    for index, view in enumerate(call.inputs):
        yield f"{'weights' if view.buffer.kind == 'constant' else 'in'}{index}"
    for kind, views in (("out", call.results), ("scratch", call.scratch)):
        for index, _ in enumerate(views):
            yield f"{kind}{index}"
