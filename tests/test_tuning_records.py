"""Files of records survive damage, sessions that are killed, and sessions side by side."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp import tuning_records
from tvm_kp.errors import InputError, OutputError
from tvm_kp.target import Target
from tvm_kp.tuning_records import CYCLES, INSTRUCTIONS, Record

ONE = Record(
    core="cortex-m4",
    key="0123456789abcdef",
    label="matmul: 1x4 float32, 4x8 float32, 1x8 float32",
    rule="matmul_fpu",
    version=1,
    choices={"rows": 2, "loop": "wide"},
    objective=INSTRUCTIONS,
    cost=123.0,
    tvm="0.27",
)
FAILED = replace(ONE, choices={"rows": 4}, cost=None, failure="hang", message="too long")

characters = st.characters(exclude_categories=["Cs"])
texts, words = st.text(characters, max_size=20), st.text(characters, min_size=1, max_size=20)
records = st.builds(
    Record,
    **dict.fromkeys(("core", "key", "label", "rule", "tvm"), words),
    **dict.fromkeys(("failure", "message", "board"), texts),
    version=st.integers(1, 99),
    choices=st.dictionaries(texts, st.one_of(st.integers(), texts), max_size=3),
    objective=st.sampled_from(tuning_records.OBJECTIVES),
    cost=st.one_of(st.none(), st.floats(0, 1e12)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


@given(st.lists(records, max_size=5), st.lists(records, max_size=5))
def test_round_trip(folder: Path, some: list[Record], more: list[Record]) -> None:
    path = folder / "round_trip.jsonl"
    tuning_records.write(path, some)
    tuning_records.append(path, more)
    found = tuning_records.read(path)
    assert (found.records, found.damaged) == ((*some, *more), ())


def test_a_line_is_json(path: Path) -> None:
    tuning_records.append(path, [ONE, FAILED])
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["choices"], first["cost"]) == ({"rows": 2, "loop": "wide"}, 123.0)
    assert (second["cost"], second["failure"]) == (None, "hang")


@given(st.data())
def test_flipped_bits_cost_their_lines_only(folder: Path, data: st.DataObject) -> None:
    path = folder / "flipped.jsonl"
    kept = [replace(ONE, version=n) for n in range(4)]
    tuning_records.write(path, kept)
    content = bytearray(path.read_bytes())
    line = len(content) // len(kept)
    places = data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3))
    for place in places:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    found = tuning_records.read(path).records
    # Without the end of a line, the next one is damaged, too.
    hit = {place // line for place in places} | {(place + 1) // line for place in places}
    assert all(record in kept for record in found)
    assert {r.version for r in found} >= {r.version for n, r in enumerate(kept) if n not in hit}


@given(st.binary(max_size=200))
def test_anything_can_be_read(folder: Path, content: bytes) -> None:
    path = folder / "anything.jsonl"
    path.write_bytes(content)
    assert tuning_records.read(path).records == ()


@pytest.mark.parametrize(
    "line", ["[" * 100_000, "[]", "7", "null", '"text"', "{}", '{"crc32": 1}', "1" * 9999, "NaN"]
)
def test_lines_that_are_no_records(path: Path, line: str) -> None:
    path.write_text(f"{line}\n\n")
    assert tuning_records.read(path) == tuning_records.Found((), (line,))


@given(st.integers(0, 400))
def test_what_a_killed_session_leaves_costs_nothing_else(folder: Path, kept: int) -> None:
    path = folder / "killed.jsonl"
    tuning_records.write(path, [ONE, FAILED])
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    lines = whole[:kept].decode().count("\n")
    before = [ONE, FAILED][: lines + (kept in (len(whole) - 1, whole.index(b"\n")))]
    new = replace(ONE, version=2)
    tuning_records.append(path, [new])
    assert list(tuning_records.read(path).records) == [*before, new]


def test_repair_moves_damaged_lines(path: Path) -> None:
    tuning_records.append(path, [ONE, FAILED])
    content = path.read_text()
    path.write_text(content.replace("hang", "hung"))
    assert tuning_records.repair(path) == 1
    assert tuning_records.read(path) == tuning_records.Found((ONE,), ())
    moved = path.with_name("records.jsonl.damaged")
    assert moved.read_text() == content.replace("hang", "hung").splitlines()[1] + "\n"
    assert tuning_records.repair(path) == 0
    path.write_text("more\n")
    assert tuning_records.repair(path) == 1
    assert moved.read_text().count("\n") == 2


def test_there_is_nothing_to_repair(path: Path) -> None:
    assert tuning_records.repair(path) == 0
    assert not path.exists()


APPEND = """
import sys
from dataclasses import replace
from pathlib import Path
from tvm_kp import tuning_records
path, who = Path(sys.argv[1]), sys.argv[2]
(one,) = tuning_records.read(path.with_name("one.jsonl")).records
for number in range(200):
    tuning_records.append(path, [replace(one, rule=who, version=number, message="x" * number)])
    if number % 50 == 0:
        tuning_records.repair(path)
"""


def test_sessions_side_by_side_lose_nothing(path: Path) -> None:
    tuning_records.write(path.with_name("one.jsonl"), [ONE])
    commands = [[sys.executable, "-c", APPEND, str(path), who] for who in "ab"]
    for process in [subprocess.Popen(command) for command in commands]:
        assert process.wait() == 0
    found = tuning_records.read(path)
    assert found.damaged == ()
    for who in "ab":
        assert [r.version for r in found.records if r.rule == who] == list(range(200))


def test_the_best_is_the_cheapest_of_every_kernel() -> None:
    other = replace(ONE, key="other", cost=500.0)
    cheap = replace(ONE, version=2, cost=100.0)
    dear = replace(ONE, version=3, cost=101.0)
    found = tuning_records.best([ONE, other, cheap, dear, FAILED], ONE.core, ONE.tvm)
    assert found == tuning_records.Best(ONE.core, {ONE.key: cheap, "other": other})


def test_free_is_cheaper_than_anything() -> None:
    free = replace(ONE, version=2, cost=0.0)
    for order in ([ONE, free], [free, ONE]):
        assert tuning_records.best(order, ONE.core, ONE.tvm).records == {ONE.key: free}


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        ({"core": "cortex-m7"}, 0),
        ({"objective": CYCLES}, 0),
        ({"board": "mine"}, 0),
        ({"tvm": "0.26"}, 1),
        ({"core": "cortex-m7", "tvm": "0.26"}, 0),
        ({"cost": None, "failure": "wrong"}, 0),
    ],
)
def test_records_that_do_not_count(change: dict, stale: int) -> None:
    other = replace(ONE, **{"cost": 1.0, **change})
    found = tuning_records.best([other, ONE], ONE.core, ONE.tvm)
    assert (dict(found.records), found.stale) == ({ONE.key: ONE}, stale)


def test_cycles_are_an_objective() -> None:
    cycles = replace(ONE, objective=CYCLES, cost=1.0)
    found = tuning_records.best([ONE, cycles], ONE.core, ONE.tvm, CYCLES)
    assert found.records == {ONE.key: cycles}


def test_what_a_board_measured_is_nearest_to_its_time() -> None:
    elsewhere = replace(ONE, objective=CYCLES, cost=1.0, board="other")
    estimated, measured = replace(elsewhere, board=""), replace(elsewhere, board="mine")
    order = [measured, estimated, elsewhere, ONE]
    while order:
        found = tuning_records.nearest(order[::-1], ONE.core, ONE.tvm, "mine")
        assert found.records == {ONE.key: order.pop(0)}
    assert tuning_records.nearest([], ONE.core, ONE.tvm, "mine") == tuning_records.Best(ONE.core)


@pytest.mark.parametrize(
    ("name", "asked", "objective"),
    [
        ("mps2-an386", None, INSTRUCTIONS),
        ("mps2-an386", CYCLES, CYCLES),
        ("pico", None, CYCLES),
        ("pico", CYCLES, CYCLES),
    ],
)
def test_the_objective_is_what_the_board_counts(
    name: str, asked: str | None, objective: str
) -> None:
    assert tuning_records.objective_of(Target.load(name), asked) == objective


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read tuning records .*none: No such file"):
        tuning_records.read(tmp_path / "none")
    with pytest.raises(InputError, match="Is a directory"):
        tuning_records.read(tmp_path)
    for change in (tuning_records.append, tuning_records.write):
        with pytest.raises(OutputError, match="cannot write tuning records"):
            change(tmp_path / "no" / "folder", [ONE])


def test_shipped() -> None:
    assert tuning_records.shipped("no-such-core") is None
