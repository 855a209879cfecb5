"""What builds do to the process they run in costs nothing but themselves."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from tvm_kp.errors import BuildError
from tvm_kp.kernel.schedule import Way
from tvm_kp.target import Target
from tvm_kp.tuning.candidates import Candidate, Failure, Job
from tvm_kp.tuning.workers import Workers


def build(job: Job) -> Candidate:
    """Does what the rule of its way says."""
    deed = job.way.rule
    if deed == "raise":
        raise ValueError("no such loop")
    if deed == "refuse":
        raise BuildError("gcc refused it")
    if deed == "exit":
        os._exit(3)
    if deed == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if deed == "sleep":
        time.sleep(1000)
    return Candidate(job.symbol, str(os.getpid()), (), 0)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """Two that are up already: starting them takes longer than the time they have."""
    with Workers(build, 2, 60) as slow:
        slow.build(jobs("good"))
    with Workers(build, 2, 2) as two:
        yield two


def jobs(*deeds: str) -> list[Job]:
    target = Target.load("mps2-an386")
    return [
        Job("", frozenset(), (), Way(deed, 1), target, f"{deed}{index}", Path())
        for index, deed in enumerate(deeds)
    ]


def kinds(results: Sequence[Candidate | Failure]) -> list[str]:
    return [one.kind if isinstance(one, Failure) else one.symbol for one in results]


def test_results_are_in_order(workers: Workers) -> None:
    names = [f"good{index}" for index in range(20)]
    results = workers.build(jobs(*["good"] * 20))
    assert kinds(results) == names
    processes = {one.source for one in results if isinstance(one, Candidate)}
    assert 1 <= len(processes) <= 2 and str(os.getpid()) not in processes


def test_no_jobs(workers: Workers) -> None:
    assert workers.build([]) == []


def test_errors_are_told(workers: Workers) -> None:
    results = workers.build(jobs("good", "raise", "refuse", "good"))
    assert kinds(results) == ["good0", "build", "build", "good3"]
    assert results[1:3] == [
        Failure("build", "ValueError: no such loop"),
        Failure("build", "gcc refused it"),
    ]


@pytest.mark.parametrize("deed", ["exit", "crash"])
def test_lost_processes_cost_one_job(workers: Workers, deed: str) -> None:
    results = workers.build(jobs("good", deed, "good", deed, "good"))
    assert kinds(results) == ["good0", "crash", "good2", "crash", "good4"]


def test_builds_that_do_not_end_cost_one_job(workers: Workers) -> None:
    begin = time.monotonic()
    results = workers.build(jobs("good", "sleep", *["good"] * 8))
    assert kinds(results) == ["good0", "crash", *(f"good{index}" for index in range(2, 10))]
    # Twice the time that a build has, and some to start processes.
    assert time.monotonic() - begin < 10


def test_all_builds_may_hang(workers: Workers) -> None:
    assert kinds(workers.build(jobs("sleep", "sleep"))) == ["crash"] * 2
    assert kinds(workers.build(jobs("good"))) == ["good0"]


KILLED = """
import sys, time
from pathlib import Path
from tvm_kp.kernel.schedule import Way
from tvm_kp.target import Target
from tvm_kp.tuning.candidates import Job
from tvm_kp.tuning.workers import Workers

def build(job):
    Path(sys.argv[1], job.symbol).touch()
    time.sleep(1000)

if __name__ == "__main__":
    target = Target.load("mps2-an386")
    jobs = [Job("", frozenset(), (), Way("w", 1), target, f"s{k}", Path()) for k in range(2)]
    with Workers(build, 2, 1000) as workers:
        workers.build(jobs)
"""


def test_workers_end_with_a_session_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    session = psutil.Popen([sys.executable, str(script), str(tmp_path)])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("s?"))) < 2:
        assert session.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    family = session.children(recursive=True)
    assert len(family) >= 3, "a server and two workers"
    session.kill()
    session.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
