"""Where a model lies in the memories of its target, and which operators take the room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tvm_kp.artifacts import Footprint, Model
from tvm_kp.report.charts import Bars, Shares, largest_bars
from tvm_kp.report.table import Cell, Table
from tvm_kp.target import Memory

STACK = "stack without the C library's"


@dataclass(frozen=True)
class Part:
    """Bytes of a model in one ``memory`` of its target."""

    memory: str
    what: str
    nbytes: int


@dataclass(frozen=True)
class Places:
    """The memories of weights and tables, and of the workspace's pools (by name) if not ``ram``."""

    constants: str = "flash"
    pools: Mapping[str, str] = field(default_factory=dict)


def parts(model: Model, footprint: Footprint, places: Places) -> tuple[Part, ...]:
    """What ``model`` puts where, empty parts left out."""
    pools = [
        Part(places.pools.get(pool.name, "ram"), f"workspace pool {pool.name}", pool.nbytes)
        for pool in model.pools
    ]
    workspace = pools or [Part("ram", "workspace", model.workspace_bytes)]
    known = sum(p.nbytes for p in workspace) + model.io_bytes + model.state_bytes
    every = (
        Part("flash", "code", footprint.code_bytes),
        Part(places.constants, "tables", footprint.tables_bytes),
        Part(places.constants, "weights", footprint.weights_bytes),
        *workspace,
        Part("ram", "inputs and outputs", model.io_bytes),
        Part("ram", "state of one stream", model.state_bytes),
        Part("ram", "other variables", footprint.ram_bytes - known),
        Part("ram", STACK, footprint.stack_bytes or 0),
    )
    return tuple(part for part in every if part.nbytes > 0)


def footprint_table(model: Model, footprint: Footprint) -> Table:
    """What takes the room in flash and RAM, without firmware around the model."""
    found = [part for part in parts(model, footprint, Places()) if part.what != STACK]
    rows: list[tuple[Cell, ...]] = []
    for memory, name, whole in (
        ("flash", "flash", footprint.flash_bytes),
        ("ram", "RAM", footprint.ram_bytes),
    ):
        rows += [(name, part.what, part.nbytes) for part in found if part.memory == memory]
        rows.append((name, "all", whole))
    stack = footprint.stack_bytes
    rows.append(("stack", "without the C library's", "not known" if stack is None else stack))
    notes = [note for note in (_planned(model), _uncounted(footprint)) if note]
    columns = ("memory", "what", "bytes")
    what = f"Sizes of an object for {model.core}" if model.objects else "Sizes"
    return Table(f"{what} on {model.target}", columns, tuple(rows), " ".join(notes))


def _uncounted(footprint: Footprint) -> str:
    """What the sizes lack where nothing was linked."""
    if not footprint.uncounted:
        return ""
    return f"Without {', '.join(footprint.uncounted)} of the C library: there is no linker."


def _planned(model: Model) -> str:
    """How good the plan of the workspace is."""
    if not model.planner:
        return ""
    text = f"Workspace: {model.workspace_bytes:,} bytes, planned by {model.planner}; "
    text += f"no plan in one piece needs less than {model.workspace_bound:,}."
    pools = ", ".join(f"{pool.nbytes:,} in {pool.name}" for pool in model.pools)
    return f"{text} Pools of the caller: {pools}." if pools else text


def memory_table(found: Sequence[Part], memories: Mapping[str, Memory], note: str = "") -> Table:
    """What lies in every memory of the target, and which share of it that is."""
    rows: list[tuple[Cell, ...]] = []
    for name, memory in memories.items():
        mine = [part for part in found if part.memory == name]
        lines = [(part.what, part.nbytes) for part in mine]
        lines.append((f"all, of {memory.length:,}", sum(part.nbytes for part in mine)))
        rows += [(name, what, size, f"{size / memory.length:.2%}") for what, size in lines]
    return Table("Memory map", ("memory", "what", "bytes", "share"), tuple(rows), note)


def memory_shares(found: Sequence[Part], memories: Mapping[str, Memory]) -> Shares:
    """How full the memories are."""
    used = Counter(dict.fromkeys(memories, 0))
    for part in found:
        used[part.memory] += part.nbytes
    of = {name: (used[name], memory.length) for name, memory in memories.items()}
    return Shares("Memories used, bytes", of)


def part_bars(model: Model, found: Sequence[Part]) -> Bars:
    """The parts in bytes, on one scale."""
    groups = tuple(f"{part.memory}: {part.what}" for part in found)
    return Bars("What takes the room, bytes", groups, {model.name: tuple(p.nbytes for p in found)})


def code_table(model: Model, footprint: Footprint) -> Table:
    """Bytes of every operator, and the code that is none's."""
    sizes = _code(model, footprint)
    known = {one.name: (one.constants_bytes, one.workspace_bytes) for one in model.operators}
    rows = tuple(
        (name, size, f"{size / footprint.code_bytes:.1%}", *known.get(name, ("–", "–")))
        for name, size in sizes.items()
    )
    columns = ("operator", "code", "share", "weights and tables", "workspace")
    return Table(f"Operators on {model.target}, bytes", columns, rows)


def code_bars(model: Model, footprint: Footprint) -> Bars:
    """Bytes of code of the operators, the largest first."""
    return largest_bars("Code per operator, bytes", {model.name: _code(model, footprint)})


def _code(model: Model, footprint: Footprint) -> dict[str, int]:
    """Bytes of code by operator, the largest first; after them what remains of the code."""
    functions: Counter[str] = Counter()
    for label, nbytes in footprint.sections:
        name, _, memory = label.partition(" ")
        if memory == "(flash)":
            # A part that GCC splits off f is called f.part.0 or the like.
            functions[name.split(".")[0]] += nbytes
    operators = {one.name: functions[one.name] for one in model.operators}
    ordered = dict(sorted(operators.items(), key=lambda item: -item[1]))
    own = (name for name in functions if name.startswith(f"tvmgen_{model.name}_"))
    ordered["entry and main function"] = sum(functions[n] for n in own if n not in operators)
    ordered["C library and the rest"] = footprint.code_bytes - sum(ordered.values())
    return ordered
