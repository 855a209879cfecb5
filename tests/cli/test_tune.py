"""Tuning from the command line: what is refused before it begins, and a small session."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import tvm
from torch import nn

import tvm_kp
from tvm_kp import tuning, tuning_records
from tvm_kp.cli import tune
from tvm_kp.cli.main import main
from tvm_kp.kernel.schedule import Way
from tvm_kp.target import Target
from tvm_kp.tuning import Task
from tvm_kp.tuning_records import Record

BOARD, NUCLEO = "--target=mps2-an386", "--target=nucleo-f446re"
FARM = ["--rpc-tracker", "127.0.0.1:9190", "--rpc-key", "m4"]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 5))
    path = tmp_path_factory.mktemp("net") / "net.pt2"
    torch.export.save(torch.export.export(layers, (torch.zeros(1, 6),)), path)
    return path


@pytest.fixture(scope="module")
def tasks(net: Path) -> list[Task]:
    return tuning.tasks(net, "mps2-an386")


@pytest.fixture(scope="module")
def tuned(net: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the records of a session, and its report."""
    folder = tmp_path_factory.mktemp("tuned")
    flags = ("-o", f"{folder}/records.jsonl", "--report", f"{folder}/report.html")
    assert main(["tune", str(net), BOARD, *flags, "--trials", "16"]) == 0
    return folder


def instructions(model: tvm_kp.artifacts.Model) -> int:
    return tvm_kp.run(model, "mps2-an386", {"input": torch.ones(1, 6).numpy()}).instructions[0]


def compiled(net: Path, records: Path | str) -> tvm_kp.Compiled:
    return tvm_kp.compile(net, "mps2-an386", options=tvm_kp.Options(tuning_records=records))


def record(task: Task, way: Way) -> Record:
    """One that says that a way is the best."""
    core, chosen = "cortex-m4", (way.rule, way.version, way.choices)
    return Record(core, task.key, task.label, *chosen, "instructions", 1.0, tvm.__version__)


def test_help(tvm_kp_main) -> None:
    answer = tvm_kp_main("tune", "--help")
    assert answer.code == 0
    for flag in ("--tasks", "--trials", "--early-stopping", "--tuner", "--report", "--parallel"):
        assert flag in answer.out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--trials", "0"], "--trials"),
        (["--tuner", "luck"], "invalid choice: 'luck'"),
        (["--tasks", "some"], "some is not list, all, or numbers like 0,2-5"),
        (["--tasks", "1-"], "numbers like 0,2-5"),
        (["--timeout", "-1"], "--timeout"),
        (["--parallel", "none"], "--parallel"),
    ],
)
def test_flags_that_do_not_parse(tvm_kp_main, net: Path, flags: list[str], words: str) -> None:
    answer = tvm_kp_main("tune", net, BOARD, *flags)
    assert answer.code == 2 and words in answer.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([BOARD], "give -o RECORDS"),
        (["--target=host"], "host counts no instructions: tune for a board"),
        ([NUCLEO, "--objective", "instructions"], "attached and counts cycles, no instructions"),
        ([BOARD, "--port", "/dev/ttyACM0"], "not attached to a port"),
        ([NUCLEO, "--port", "p", *FARM], "--port is of a board here, --rpc-tracker has others"),
        ([], "no --target given"),
        ([BOARD, "-o", "/no/folder/records"], "/no/folder"),
        ([BOARD, "-o", "/"], "is a folder"),
        ([BOARD, "-o", "{}/r", "--report", "/proc/r.html"], "/proc/r.html"),
        ([BOARD, "-o", "{}/r", "--tuning-records", "{}/none"], "cannot read tuning records"),
        ([BOARD, "-o", "{}/r", "--tuning-records", "{}"], "Is a directory"),
        ([BOARD, "-o", "{}/r", "--io", "int8"], "give --quantize too"),
    ],
)
def test_user_errors_are_found_before_anything_is_built(
    tvm_kp_main, net: Path, tmp_path: Path, flags: list[str], words: str
) -> None:
    answer = tvm_kp_main("tune", net, *(flag.format(tmp_path) for flag in flags))
    assert answer.code == 4
    assert words in answer.err and answer.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_model(tvm_kp_main, tmp_path: Path) -> None:
    answer = tvm_kp_main("tune", tmp_path / "none.pt2", BOARD, "-o", tmp_path / "r")
    assert answer.code == 4 and "none.pt2" in answer.err


def test_tasks_are_listed(tvm_kp_main, net: Path, tasks: list[Task]) -> None:
    answer = tvm_kp_main("tune", net, BOARD, "--tasks", "list")
    assert answer.code == 0
    lines = answer.out.splitlines()
    for number, task in enumerate(tasks):
        (line,) = (line for line in lines if line.split()[:2] == [str(number), task.name])
        assert line.split()[2:4] == [str(task.calls), str(len(task.ways))]


@pytest.mark.parametrize("numbers", ["0-7", "0,1,99999999999"])
def test_tasks_that_are_not_there(tvm_kp_main, net: Path, tmp_path: Path, numbers: str) -> None:
    answer = tvm_kp_main("tune", net, BOARD, "-o", tmp_path / "r", "--tasks", numbers)
    assert answer.code == 4
    assert "there is no task" in answer.err and "--tasks list" in answer.err


def test_a_session(tuned: Path, tasks: list[Task]) -> None:
    found = tuning_records.read(tuned / "records.jsonl")
    assert found.damaged == () and len(found.records) == 16
    assert {record.key for record in found.records} == {task.key for task in tasks}
    page = (tuned / "report.html").read_text()
    assert page.startswith("<!doctype html>") and "speed-up" in page


def test_chosen_tasks_from_known_records(
    tvm_kp_main, net: Path, tuned: Path, tasks: list[Task], tmp_path: Path
) -> None:
    """The last two, of which one candidate each is left to the tuner."""
    last = len(tasks) - 1
    answer = tvm_kp_main(
        *("tune", net, BOARD, "-o", tmp_path / "r", "--tuning-records", tuned / "records.jsonl"),
        *("--tasks", f"{last - 1}-{last}", "--trials", "1", "--tuner", "grid"),
    )
    assert answer.code == 0
    assert tasks[-1].name in answer.out and tasks[-2].name in answer.out
    assert all(task.name not in answer.out for task in tasks[:-2])
    assert "all, an inference" in answer.out and "candidates in" in answer.out
    hint = f"Use them with: tvm-kp compile {net} --tuning-records {tmp_path / 'r'}"
    assert hint in answer.out.replace("\n", "")
    known = {record.way for record in tuning_records.read(tuned / "records.jsonl").records}
    found = [record.way for record in tuning_records.read(tmp_path / "r").records]
    assert known < {*found} and len(found) == len(known) + 1, "copied, and one is new"


def test_damaged_lines_are_warned_of(tvm_kp_main, net: Path, tuned: Path, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes((tuned / "records.jsonl").read_bytes() + b"garbage\n")
    answer = tvm_kp_main("tune", net, BOARD, "-o", path, "--tasks", "0", "--trials", "1")
    assert answer.code == 0
    assert f"Warning: 1 damaged lines of {path} are moved to {path.name}.damaged" in answer.err
    assert path.with_name("records.jsonl.damaged").read_text() == "garbage\n"


def test_compile_uses_what_was_measured(net: Path, tuned: Path) -> None:
    before, after = compiled(net, "none"), compiled(net, tuned / "records.jsonl")
    assert (before.tuned, before.stale) == (0, 0) and after.tuned > 0 == after.stale
    assert instructions(after.model) <= instructions(before.model)


def test_choices_reach_the_c(net: Path, tasks: list[Task], tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    task = next(task for task in tasks if len(task.ways) > 1)
    default = compiled(net, "none").model.sources

    def changes(way: Way) -> bool:
        tuning_records.write(path, [record(task, way)])
        tuned = compiled(net, path)
        assert tuned.tuned == 1
        return tuned.model.sources != default

    # Not all do: what has few turns may be written out in two ways.
    assert any(map(changes, task.ways[1:]))
    assert not changes(task.default)


@pytest.mark.parametrize("change", [{"tvm": "0.26"}, {"rule": "gone"}, {"version": 99}], ids=str)
def test_stale_records_are_ignored_with_a_warning(
    tvm_kp_main, net: Path, tasks: list[Task], tmp_path: Path, change: dict
) -> None:
    path = tmp_path / "records.jsonl"
    tuning_records.write(path, [replace(record(tasks[0], tasks[0].default), **change)])
    flags = ("-o", tmp_path / "m.tar", "--tuning-records", path)
    answer = tvm_kp_main("compile", net, BOARD, *flags)
    assert answer.code == 0
    assert "Warning: 1 tuning records were ignored" in answer.err
    assert compiled(net, path).model.sources == compiled(net, "none").model.sources


def test_damaged_records_are_ignored_with_a_warning(
    tvm_kp_main, net: Path, tasks: list[Task], tmp_path: Path
) -> None:
    path = tmp_path / "records.jsonl"
    tuning_records.write(path, [record(tasks[0], tasks[0].default)])
    with path.open("a") as file:
        file.write('{"choices": {"ro\n')
    before = path.read_text()
    flags = ("-o", tmp_path / "m.tar", "--tuning-records", path)
    answer = tvm_kp_main("compile", net, BOARD, *flags)
    assert answer.code == 0 and path.read_text() == before
    assert answer.err == (
        f"Warning: 1 damaged lines of {path} were ignored; tvm-kp tune sets them aside\n"
    )


def test_records_that_cannot_be_read(tvm_kp_main, net: Path, tmp_path: Path) -> None:
    flags = ("-o", tmp_path / "m.tar", "--tuning-records", tmp_path / "none.jsonl")
    answer = tvm_kp_main("compile", net, BOARD, *flags)
    assert answer.code == 4 and "cannot read tuning records" in answer.err
    assert list(tmp_path.iterdir()) == []


def as_toml(board: Target) -> str:
    """A description of ``board``, with the files of shipped ones."""

    def rows(table: dict, *names: str) -> str:
        return "".join(f"{name} = {json.dumps(table[name])}\n" for name in names)

    table = board.to_dict()
    text = rows(table, "name", "core", "isa", "platform")
    for name, memory in table["memories"].items():
        text += f"[memories.{name}]\n" + rows(memory, "origin", "length")
    tools = ("prefix", "install", "cflags", "ldflags", "linker_script", "startup")
    for name, keys in {
        "toolchain": tools,
        "uart": ("driver", "origin", "interrupt", "clock_hz"),
        "runner": ("kind", "flash", "port", "timeout_s"),
    }.items():
        text += f"[{name}]\n" + rows(table[name], *keys)
    return text


def test_an_attached_board(
    tvm_kp_main, net: Path, tmp_path: Path, attached_board: Target, attached_boards
) -> None:
    board, path = tmp_path / "mine.toml", tmp_path / "records.jsonl"
    port = attached_board.runner.port
    elsewhere = replace(attached_board.runner, port="/dev/none")
    board.write_text(as_toml(replace(attached_board, runner=elsewhere)))
    flags = (
        "--tasks",
        "0-1",
        "--trials",
        "8",
        "--tuner",
        "grid",
        "--report",
        tmp_path / "report.html",
    )
    answer = tvm_kp_main("tune", net, f"--target={board}", "-o", path, "--port", port, *flags)
    assert answer.code == 0
    flashes = len(attached_boards.flashes())
    assert 1 < flashes <= 5 and f"flashed {flashes} times" in answer.out
    assert "Cycles are those that mine measured itself." in (tmp_path / "report.html").read_text()
    records = tuning_records.read(path).records
    assert len(records) == 8
    for record in records:
        assert (record.board, record.objective, record.failure) == ("mine", "cycles", "")
    after = tvm_kp.compile(net, str(board), options=tvm_kp.Options(tuning_records=path))
    assert after.tuned > 0 == after.stale


def test_every_tuner_can_be_named() -> None:
    assert tuple(tuning.SEARCHES) == tune.TUNERS
