"""Sessions on the emulated board: of kernels as they are, and of some that are wrong on purpose."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tvm_kp import board, tuning, tuning_records
from tvm_kp.kernel.schedule import Way
from tvm_kp.target import Target
from tvm_kp.tuning import SEARCHES, Session, Settings, Task
from tvm_kp.tuning import candidates as candidates_
from tvm_kp.tuning.boards import BATCH
from tvm_kp.tuning.candidates import Candidate, Job
from tvm_kp.tuning_records import Record

ALL = 10_000
MOST = 12  # ways of a kernel: enough for searches to have something to choose from


def ways_in(path: Path) -> Counter[tuple]:
    """How often each way has a record."""
    found = tuning_records.read(path)
    assert found.damaged == ()
    return Counter(record.way for record in found.records)


@pytest.fixture(scope="module")
def some_tasks(net_tasks: list[Task]) -> list[Task]:
    return [replace(task, ways=task.ways[:MOST]) for task in net_tasks]


@pytest.fixture(scope="module")
def tuned(
    some_tasks: list[Task], m4: Target, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Session, Path, list[int]]:
    """A session that tries all, its records, and how many it had tried after each batch."""
    path = tmp_path_factory.mktemp("session") / "records.jsonl"
    told: list[int] = []
    session = tuning.tune_tasks(
        some_tasks,
        m4,
        path,
        settings=Settings(trials=ALL),
        told=lambda session: told.append(session.trials),
    )
    return session, path, told


def test_the_best_is_not_worse_than_the_default(tuned, some_tasks: list[Task]) -> None:
    session, _, _ = tuned
    assert [progress.task for progress in session.progress] == some_tasks
    for progress in session.progress:
        assert 0 < progress.best <= progress.default and progress.speed_up >= 1
        assert progress.way in progress.task.ways
        costs = [cost for _, cost in progress.curve]
        assert costs == sorted(costs, reverse=True) and costs[-1] == progress.best


def test_all_that_is_tried_has_a_record(tuned, some_tasks: list[Task], m4: Target) -> None:
    session, path, told = tuned
    ways = ways_in(path)
    assert set(ways.values()) == {1}
    assert len(ways) == session.trials == sum(len(task.ways) for task in some_tasks)
    assert told == sorted(told) and told[-1] == session.trials
    for record in tuning_records.read(path).records:
        assert (record.core, record.objective) == (m4.core, "instructions")


def test_a_second_session_measures_nothing_again(tuned, some_tasks: list[Task], m4: Target) -> None:
    first, path, _ = tuned
    before = path.read_bytes()
    again = tuning.tune_tasks(some_tasks, m4, path, settings=Settings(trials=ALL))
    assert again.trials == 0 and path.read_bytes() == before
    for one, other in zip(first.progress, again.progress, strict=True):
        assert (one.default, one.best, one.way) == (other.default, other.best, other.way)


def test_records_to_start_from(tuned, some_tasks: list[Task], m4: Target, tmp_path: Path) -> None:
    _, path, _ = tuned
    new = tmp_path / "new.jsonl"
    session = tuning.tune_tasks(some_tasks, m4, new, start_from=path, settings=Settings(trials=ALL))
    assert session.trials == 0, "nothing is measured again"
    copied, known = (tuning_records.read(file).records for file in (new, path))
    assert {record.way for record in copied} == {record.way for record in known}


@pytest.mark.parametrize(
    "change",
    [
        {"core": "cortex-m7"},
        {"board": "mine"},
        {"tvm": "0.26"},
        {"objective": "cycles"},
        {"version": 99},
    ],
)
def test_records_of_something_else_are_not_used(
    tuned, task: Task, m4: Target, tmp_path: Path, change: dict
) -> None:
    _, path, _ = tuned
    others = tmp_path / "others.jsonl"
    foreign = [replace(r, **{"cost": 1.0, **change}) for r in tuning_records.read(path).records]
    tuning_records.write(others, foreign)
    session = tuning.tune_tasks(
        [task], m4, others, tuner="grid", settings=Settings(trials=1, parallel=1)
    )
    (progress,) = session.progress
    assert session.trials == 1 and progress.best == progress.default > 1.0


# Statements before and after the call of a kernel; {beside}, {result}: where they are in memory.
DEEDS = {
    "default": ('__asm volatile(".rept 20; nop; .endr");', ""),
    "slow": ('__asm volatile(".rept 50; nop; .endr");', ""),
    "hang": ('for (;;) __asm volatile("");', ""),
    "stray": ("", "memory[{beside}] ^= 1;"),
    "operand": ("", "memory[{operand}] ^= 1;"),
    "fault": ("*(volatile unsigned *)0x24000000u = 1u;", ""),
    "wrong": ("", "memory[{result}] ^= 64;"),
    "build": ("nonsense", ""),
    "link": ("extern void nobody(void); nobody();", ""),
    "fast": ("", ""),
    "crash": ("", ""),
    "raise": ("", ""),
}
FAILURES = {
    "hang": "hang",
    "stray": "stray",
    "operand": "stray",
    "fault": "fault",
    "wrong": "wrong",
    "build": "build",
    "link": "build",
    "crash": "crash",
    "raise": "build",
}


def doing(task: Task, *deeds: str) -> Task:
    """A task whose ways are the default, each with something that it does besides."""
    ways = [
        replace(task.default, choices={**task.default.choices, "deed": deed, "number": number})
        for number, deed in enumerate(deeds)
    ]
    return replace(task, ways=tuple(ways))


def deed_of(way: Way | Record) -> str:
    return str(way.choices["deed"])


def build(job: Job) -> Candidate:
    """The default kernel, with what the job's way does besides."""
    deed = deed_of(job.way)
    if deed == "crash":
        os._exit(1)
    if deed == "raise":
        raise ValueError("no such loop")
    choices = {k: v for k, v in job.way.choices.items() if k not in ("deed", "number")}
    honest = candidates_.write(replace(job, way=replace(job.way, choices=choices)))
    operand, result = honest.regions[0], honest.regions[3]
    places = {
        "beside": operand.offset - 1,
        "operand": operand.offset,
        "result": result.offset + result.nbytes - 1,
    }
    before, after = (text.format(**places) if text else "" for text in DEEDS[deed])
    head, _, call = honest.source.rpartition("{\n")
    call = call.rstrip().removesuffix("}")
    source = f"{head}{{\n{before}\n{call}{after}\n}}\n"
    made = board.compile_trial(source, job.symbol, job.target, job.folder)
    return replace(honest, source=source, object=made)


@pytest.fixture(scope="module")
def spoilt(task: Task) -> Task:
    """A task some of whose ways are wrong; two hang, and two crash."""
    return doing(task, *DEEDS, "hang", "crash")


@pytest.fixture(scope="module")
def survived(
    spoilt: Task, m4: Target, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Session, tuple[Record, ...]]:
    path = tmp_path_factory.mktemp("spoilt") / "records.jsonl"
    session = Session([spoilt], m4, path, SEARCHES["grid"], Settings(trials=ALL), build=build)
    session.run()
    return session, tuning_records.read(path).records


def test_what_is_wrong_is_found_and_named(survived, spoilt: Task) -> None:
    _, records = survived
    assert len(records) == len(spoilt.ways) <= BATCH, "all in one batch"
    for record in records:
        assert record.failure == FAILURES.get(deed_of(record), ""), record
        assert (record.cost is None) == bool(record.failure) == bool(record.message)


def test_the_best_of_what_is_right_is_found(survived) -> None:
    session, records = survived
    (progress,) = session.progress
    costs = {deed_of(record): record.cost for record in records if not record.failure}
    assert deed_of(progress.way) == "fast" and progress.best == costs["fast"]
    assert costs["default"] == progress.default == costs["fast"] + 20
    assert costs["slow"] == costs["fast"] + 50
    assert sum(progress.failures.values()) == len(records) - len(costs)


def test_an_attached_board(
    task: Task, attached_board: Target, attached_boards: Any, tmp_path: Path
) -> None:
    """The same is found there, in cycles, with a flash for the default and one for the others."""
    spoilt = doing(task, *(deed for deed in DEEDS if deed != "link"))
    path = tmp_path / "records.jsonl"
    session = Session([spoilt], attached_board, path, SEARCHES["grid"], Settings(), build=build)
    session.run()
    records = tuning_records.read(path).records
    assert len(records) == len(spoilt.ways)
    for record in records:
        assert (record.board, record.objective) == (attached_board.name, "cycles")
        assert record.failure == FAILURES.get(deed_of(record), ""), record
    (progress,) = session.progress
    costs = {deed_of(record): record.cost for record in records if not record.failure}
    assert deed_of(progress.way) == "fast" and progress.best == costs["fast"] > 0
    assert costs["fast"] < costs["default"] < costs["slow"]
    assert session.flashes == len(attached_boards.flashes()) == 2


def test_failures_are_not_tried_again(survived, spoilt: Task, m4: Target, tmp_path: Path) -> None:
    first, records = survived
    path = tmp_path / "records.jsonl"
    again = Session([spoilt], m4, path, SEARCHES["grid"], Settings(trials=ALL), build=build)
    again.run(records)
    assert again.trials == 0 and not path.exists()
    assert again.progress[0].failures == first.progress[0].failures


def test_a_default_that_fails(task: Task, m4: Target, tmp_path: Path) -> None:
    task = doing(task, "wrong", "fast")
    path = tmp_path / "records.jsonl"
    session = Session([task], m4, path, SEARCHES["grid"], Settings(trials=ALL), build=build)
    session.run()
    (progress,) = session.progress
    assert progress.default is None and progress.speed_up is None and progress.way == task.ways[1]
    failures = {deed_of(r): r.failure for r in tuning_records.read(path).records}
    assert failures == {"wrong": "wrong", "fast": ""}


def test_trials_and_early_stopping(
    task: Task, m4: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tvm_kp.tuning.boards.BATCH", 4)
    task = doing(task, *["slow"] * 12)

    def trials(settings: Settings) -> int:
        path = tmp_path / f"{settings.trials}.jsonl"
        session = Session([task], m4, path, SEARCHES["grid"], settings, build=build)
        session.run()
        assert sum(ways_in(path).values()) == session.trials
        return session.trials

    assert trials(Settings(trials=5)) == 5
    # None is better than the default: the first batch is enough.
    assert trials(Settings(trials=ALL, early_stopping=3)) == 1 + 4


def test_sessions_side_by_side(task: Task, m4: Target, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    task = doing(task, *["slow"] * 4)

    def tune(name: str) -> Session:
        session = Session([task], m4, path, SEARCHES[name], Settings(trials=ALL), build=build)
        session.run()
        return session

    with ThreadPoolExecutor(2) as pool:
        sessions = list(pool.map(tune, ["grid", "random"]))
    assert set(ways_in(path).values()) == {2}
    assert [session.trials for session in sessions] == [4, 4]
    assert sessions[0].progress[0].best == sessions[1].progress[0].best


def test_damaged_lines_are_moved(tuned, some_tasks: list[Task], m4: Target, tmp_path: Path) -> None:
    _, path, _ = tuned
    copy = tmp_path / "records.jsonl"
    copy.write_bytes(path.read_bytes().replace(b'"core"', b'"cure"', 1))
    session = tuning.tune_tasks(some_tasks, m4, copy, settings=Settings(trials=ALL))
    assert session.trials == 1
    assert ways_in(copy) == ways_in(path)
    assert (tmp_path / "records.jsonl.damaged").read_text().count("\n") == 1
