"""Sessions that are killed or interrupted, in a process of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tvm_kp import tuning, tuning_records
from tvm_kp.target import Target
from tvm_kp.tuning import Settings, Task
from tvm_kp.tuning_records import Record

MAIN = "import sys; from tvm_kp.cli.main import main; raise SystemExit(main())"
Start = Callable[..., psutil.Popen]


@pytest.fixture
def start(net_file: Path) -> Iterator[Start]:
    """Starts ``tvm-kp tune`` for a file of records; whatever is left of it is killed in the end."""
    started: list[psutil.Popen] = []

    def begin(records: Path, *flags: str) -> psutil.Popen:
        command = [sys.executable, "-c", MAIN, "tune", str(net_file), "--target=mps2-an386"]
        command += ["-o", str(records), "--tuner", "grid", "--parallel", "2", *flags]
        started.append(
            psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for_records(process: psutil.Popen, path: Path) -> list[psutil.Process]:
    """The children of a session that has measured something, and goes on."""
    deadline = time.monotonic() + 60
    while not path.exists() or not path.stat().st_size:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    family = process.children(recursive=True)
    assert family, "it has workers"
    return family


def records_in(path: Path) -> tuple[Record, ...]:
    found = tuning_records.read(path)
    assert found.damaged == ()
    return found.records


def test_a_session_that_is_killed_goes_on(
    start: Start, net_tasks: list[Task], m4: Target, tmp_path: Path
) -> None:
    path = tmp_path / "records.jsonl"
    process = start(path)
    family = wait_for_records(process, path)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    # It may have been writing.
    before = tuning_records.read(path).records
    with path.open("a") as file:
        file.write('{"choices": {"ro')
    session = tuning.tune_tasks(net_tasks, m4, path, tuner="grid", settings=Settings(trials=8))
    after = records_in(path)
    assert after[: len(before)] == before
    assert len(after) == len(before) + session.trials
    assert max(Counter(record.way for record in after).values()) == 1


def test_an_interrupted_session_ends_at_once(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    process = start(path)
    family = wait_for_records(process, path)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert time.monotonic() - begin < 10
    assert process.returncode == 130
    assert text.splitlines()[-1] == "Interrupted." and "Traceback" not in text
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert records_in(path)
