"""When each workspace buffer of a program is in use."""

from __future__ import annotations

from tvm_kp.c.plan import Lifetime
from tvm_kp.c.program import Buffer, Loop, Program

BEFORE = -1  # the first statement: the caller's, who writes the inputs


def lifetimes(program: Program, workspace_io: bool = False) -> dict[Buffer, Lifetime]:
    """The lifetime of every root buffer in the workspace, in statements of ``program.flat()``.

    What a loop reads from outside, writes for outside or carries from one iteration to the
    next is in use during the whole loop. With ``workspace_io`` inputs, in use from before the
    first statement, and outputs, in use until after the last one, lie in the workspace too.
    """
    kinds = {"workspace", "input", "output"} if workspace_io else {"workspace"}
    uses: dict[Buffer, list[tuple[int, Loop | None]]] = {}
    carried: set[Buffer] = set()
    spans: dict[Loop | None, tuple[int, int]] = {}
    if workspace_io:
        uses |= {buffer: [(BEFORE, None)] for buffer in program.inputs}
    for index, (statement, loop) in enumerate(program.flat()):
        spans[loop] = (spans.get(loop, (index, index))[0], index)
        for view in (*statement.inputs, *statement.outputs):
            root, _ = view.location()
            if root.kind in kinds:
                uses.setdefault(root, []).append((index, loop))
                if view.buffer.carried:
                    carried.add(root)
    if workspace_io:
        after = sum(1 for _ in program.flat())
        for buffer in program.outputs:
            uses.setdefault(buffer, []).append((after, None))
    return {
        buffer: _span(buffer, where, spans, buffer in carried) for buffer, where in uses.items()
    }


def _span(
    buffer: Buffer,
    where: list[tuple[int, Loop | None]],
    spans: dict[Loop | None, tuple[int, int]],
    carried: bool,
) -> Lifetime:
    indices = [index for index, _ in where]
    loops = {loop for _, loop in where}
    if carried or len(loops) > 1:
        indices += [edge for loop in loops if loop is not None for edge in spans[loop]]
    return Lifetime(buffer.nbytes, min(indices), max(indices))
