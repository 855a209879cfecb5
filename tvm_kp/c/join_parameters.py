"""Parameters that are parts of one tensor in every call become one.

The gates of a cell are such, and a state that is computed in place: pointers to walk, each in a
register of its own or on the stack, or one with the others at constant distances.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad, Var

from tvm_kp.c.buffers import origins
from tvm_kp.c.program import Call, Copy, Loop, Program, View, Zero

REACH_BYTES = 4095  # the largest constant distance that a load has room for

Statement = Call | Copy | Zero


@dataclass(frozen=True)
class Joined:
    """The parameters of a kernel at the ``indices``, which begin at ``starts`` of ``elements``.

    All are operands, or all but the first, which is the result that they are overwritten with.
    """

    indices: tuple[int, ...]
    starts: tuple[int, ...]
    elements: int


def join_parameters(
    program: Program, kernels: Mapping[str, tirx.PrimFunc]
) -> tuple[Program, dict[str, tirx.PrimFunc], dict[str, tuple[Joined, ...]]]:
    """``program`` and ``kernels`` with fewer parameters, and what was joined by kernel.

    Operands between which a call writes stay as they are: compilers would have to expect that
    any element of their tensor changes.
    """
    calls: dict[str, list[Call]] = {}
    for statement, _ in program.flat():
        if isinstance(statement, Call):
            calls.setdefault(statement.function, []).append(statement)
    found = {name: _joined(some) for name, some in calls.items()}

    def shorter(statement: Statement) -> Statement:
        if isinstance(statement, Call):
            inputs = _remaining(statement, found[statement.function])
            return replace(statement, inputs=inputs)
        return statement

    body = (
        Loop(s.steps, tuple(map(shorter, s.body))) if isinstance(s, Loop) else shorter(s)
        for s in program.body
    )
    functions = {name: join(kernel, found.get(name, ())) for name, kernel in kernels.items()}
    return replace(program, body=tuple(body)), functions, found


def join(kernel: tirx.PrimFunc, joined: Sequence[Joined]) -> tirx.PrimFunc:
    """The lowered ``kernel`` with each of ``joined`` in the place of its first parameter."""
    params, origin = list(kernel.params), origins(kernel)
    places: dict[Var, tuple[Var, int]] = {}
    for one in joined:
        first = params[one.indices[0]]
        whole = tirx.decl_buffer((one.elements,), str(first.dtype), first.name)
        places |= {params[k]: (whole, at) for k, at in zip(one.indices, one.starts, strict=True)}

    def place(buffer: Var) -> tuple[Var, int] | None:
        return places.get(origin.get(buffer, buffer))

    def load(old: TensorLoad) -> TensorLoad:
        found = place(old.source)
        return old if found is None else tirx.BufferLoad(found[0], [old.indices[0] + found[1]])

    def store(old: tirx.BufferStore) -> tirx.BufferStore:
        found = place(old.buffer)
        return old if found is None else tirx.BufferStore(found[0], old.value, old.indices)

    def declare(old: tirx.DeclBuffer) -> tirx.Stmt:
        return old if place(old.buffer) is None else tirx.Evaluate(0)

    rewrites = (TensorLoad, load), (tirx.BufferStore, store), (tirx.DeclBuffer, declare)
    body = tvm_ffi.structural_map(kernel.body, rewrites) if joined else kernel.body
    kept = [params[index] for index in kept_parameters(len(params), joined)]
    kept = [places[param][0] if param in places else param for param in kept]
    return tirx.PrimFunc(kept, body, kernel.ret_type, kernel.attrs)


def kept_parameters(count: int, joined: Sequence[Joined]) -> list[int]:
    """Of ``count`` parameters the indices of those that are left, in order."""
    gone = {index for one in joined for index in one.indices[1:]}
    return [index for index in range(count) if index not in gone]


def _joined(calls: Sequence[Call]) -> tuple[Joined, ...]:
    """What is joined of the kernel that all ``calls`` are of."""
    in_place = list(_in_place(calls))
    taken = {index for one in in_place for index in one.indices}
    groups: dict[object, list[int]] = {}
    for index, first in enumerate(calls[0].inputs):
        views = [call.inputs[index] for call in calls]
        tensors = tuple((view.location()[0], view.stride) for view in views)
        # They keep their distances if all move equally from call to call.
        moves = tuple(view.location()[1] - first.location()[1] for view in views)
        # Floats gain nothing: VLDM moves a pointer while it loads.
        if index not in taken and first.dtype != "float32":
            groups.setdefault((first.dtype, tensors, moves), []).append(index)
    near = (some for indices in groups.values() for some in _near(calls[0], indices))
    parts = (_parts(calls[0], indices) for indices in near if len(indices) > 1)
    apart = (
        one
        for one in parts
        if not any(_view(call, one).overlaps(out) for call in calls for out in call.outputs)
    )
    return (*in_place, *apart)


def _in_place(calls: Sequence[Call]) -> Iterator[Joined]:
    """Results with the operands that every call overwrites with them."""
    count = len(calls[0].inputs)
    for at, result in enumerate(calls[0].results):
        same = [
            index
            for index in range(count)
            if all(_are_same(call.inputs[index], call.results[at]) for call in calls)
        ]
        if same:
            indices = (count + at, *same)
            elements = result.nbytes // np.dtype(result.dtype).itemsize
            yield Joined(indices, (0,) * len(indices), elements)


def _are_same(one: View, other: View) -> bool:
    """Whether two views are the same elements."""
    kinds = [(view.location(), view.stride, view.nbytes, view.dtype) for view in (one, other)]
    return kinds[0] == kinds[1]


def _near(call: Call, indices: Sequence[int]) -> list[list[int]]:
    """``indices`` in groups that a load reaches from the first operand of each."""
    begin = {index: call.inputs[index].location()[1] for index in indices}
    found: list[list[int]] = []
    for index in sorted(indices, key=lambda index: begin[index]):
        if found and begin[index] - begin[found[-1][0]] <= REACH_BYTES:
            found[-1].append(index)
        else:
            found.append([index])
    return [sorted(some) for some in found]


def _parts(call: Call, indices: Sequence[int]) -> Joined:
    """The operands at ``indices`` as parts of what lies between the first and the last."""
    views = [call.inputs[index] for index in indices]
    itemsize = np.dtype(views[0].dtype).itemsize
    begin = min(view.location()[1] for view in views)
    end = max(view.location()[1] + view.nbytes for view in views)
    starts = tuple((view.location()[1] - begin) // itemsize for view in views)
    return Joined(tuple(indices), starts, (end - begin) // itemsize)


def _view(call: Call, one: Joined) -> View:
    """What lies between the operands that ``one`` joins."""
    first = call.inputs[one.indices[0]]
    root, offset = first.location()
    begin = offset - one.starts[0] * np.dtype(first.dtype).itemsize
    return View(root, (one.elements,), first.dtype, begin, first.stride)


def _remaining(call: Call, joined: Sequence[Joined]) -> tuple[View, ...]:
    """The operands of ``call`` after joining."""
    firsts = {one.indices[0]: one for one in joined}
    return tuple(
        _view(call, firsts[index]) if index in firsts else call.inputs[index]
        for index in kept_parameters(len(call.inputs), joined)
    )
