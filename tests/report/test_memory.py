from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.artifacts import Footprint, Model, Operator, Pool, TensorSpec
from tvm_kp.report import Places, footprint_table
from tvm_kp.report.memory import (
    code_bars,
    code_table,
    memory_shares,
    memory_table,
    part_bars,
    parts,
)
from tvm_kp.target import Target

SIZES = st.integers(0, 100_000)


@pytest.fixture(scope="module")
def sample():
    tensors = (TensorSpec("x", (1, 25, 10), "float32"),), (TensorSpec("output", (12,), "int8"),)
    head = Operator("tvmgen_kws_head", 16, constants_bytes=5664)
    operators = (head, Operator("tvmgen_kws_cell"))
    return Model("kws", "mps3-an547", *tensors, "", {}, operators, 4096, 14000)


def of_memory(table, memory):
    """Bytes by what they are, of one memory."""
    return {what: size for where, what, size, _ in table.rows if where == memory}


@given(
    code=st.integers(1, 100_000),
    weights=SIZES,
    tables=SIZES,
    other=SIZES,
    stack=SIZES,
    state=SIZES,
    pools=st.dictionaries(st.sampled_from(["ram", "constants", "sram", "dtcm"]), SIZES),
    constants=st.sampled_from(["flash", "constants"]),
)
def test_every_byte_is_in_one_memory(
    sample, code, weights, tables, other, stack, state, pools, constants
):
    model = replace(
        sample,
        state_bytes=state,
        workspace_bytes=sum(pools.values()) if pools else 4096,
        pools=tuple(Pool(name, nbytes) for name, nbytes in pools.items()),
    )
    ram = model.workspace_bytes + model.io_bytes + state + other
    footprint = Footprint(code, weights, ram, stack_bytes=stack, tables_bytes=tables)
    memories = Target.load("mps3-an547").memories
    own = {name: name for name in pools if name in memories}
    found = parts(model, footprint, Places(constants, own))
    assert sum(part.nbytes for part in found) == footprint.flash_bytes + ram + stack
    assert all(part.nbytes > 0 and part.memory in memories for part in found)
    table, shares = memory_table(found, memories), memory_shares(found, memories)
    for name, memory in memories.items():
        *lines, (what, size) = of_memory(table, name).items()
        assert what == f"all, of {memory.length:,}"
        assert size == sum(nbytes for _, nbytes in lines)
        assert shares.parts[name] == (size, memory.length)
    assert sum(part_bars(model, found).series[model.name]) == sum(p.nbytes for p in found)
    assert ("RAM", "all", ram) in footprint_table(model, footprint).rows


def test_parts_lie_where_their_memories_are(sample):
    model = replace(sample, pools=(Pool("dtcm", 96), Pool("sram", 4000)), state_bytes=8)
    footprint = Footprint(2048, 12974, 5116, stack_bytes=144, tables_bytes=1026)
    found = parts(model, footprint, Places("constants", {"dtcm": "dtcm"}))
    assert [(part.memory, part.what, part.nbytes) for part in found] == [
        ("flash", "code", 2048),
        ("constants", "tables", 1026),
        ("constants", "weights", 12974),
        ("dtcm", "workspace pool dtcm", 96),
        ("ram", "workspace pool sram", 4000),
        ("ram", "inputs and outputs", 1012),
        ("ram", "state of one stream", 8),
        ("ram", "stack without the C library's", 144),
    ]


def test_what_an_object_does_not_say(sample):
    footprint = Footprint(2048, 12974, 5116, stack_bytes=None, uncounted=("expf", "memcpy"))
    table = footprint_table(replace(sample, objects={"m.o": b""}, core="cortex-m55"), footprint)
    assert table.title == "Sizes of an object for cortex-m55 on mps3-an547"
    assert ("stack", "without the C library's", "not known") in table.rows
    assert table.note.endswith("Without expf, memcpy of the C library: there is no linker.")


def test_code_of_operators_adds_up(sample):
    sections = (
        ("global_const_workspace (flash)", 13000),
        ("tvmgen_kws_cell (flash)", 900),
        ("tvmgen_kws_cell.part.0 (flash)", 100),
        ("tvmgen_kws_run (flash)", 200),
        ("tvmgen_kws_head (flash)", 300),
        ("tvmgen_kws_head (ram)", 7),
        ("memset (flash)", 162),
    )
    footprint = Footprint(2000, 13000, 4096, sections)
    table = code_table(sample, footprint)
    assert table.rows == (
        ("tvmgen_kws_cell", 1000, "50.0%", 0, 0),
        ("tvmgen_kws_head", 300, "15.0%", 5664, 16),
        ("entry and main function", 200, "10.0%", "–", "–"),
        ("C library and the rest", 500, "25.0%", "–", "–"),
    )
    assert code_bars(sample, footprint).series == {"kws": (1000, 500, 300, 200)}
