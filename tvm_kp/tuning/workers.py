"""Building candidates in other processes: what crashes or hangs there costs one candidate."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from threading import Thread
from types import TracebackType

from tvm_kp.errors import TvmKpError, told
from tvm_kp.tuning.candidates import Build, Candidate, Failure, Job

# Imported once, by the process that workers are forked from.
_PRELOADED = "tvm_kp.tuning.candidates"


class Workers:
    """``count`` processes that build candidates; one build may take ``timeout_s``."""

    def __init__(self, build: Build, count: int, timeout_s: float) -> None:
        self._build, self._count, self._timeout_s = build, count, timeout_s
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_PRELOADED])
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._stop()

    def build(self, jobs: Sequence[Job]) -> list[Candidate | Failure]:
        """The candidates of ``jobs``, in order."""
        results = self._attempt(jobs)
        # If a process was lost, which job it had is not known: each is tried by itself.
        return [
            self._alone(job) if result is None else result
            for job, result in zip(jobs, results, strict=True)
        ]

    def _alone(self, job: Job) -> Candidate | Failure:
        (result,) = self._attempt([job])
        if result is not None:
            return result
        return Failure("crash", "the process that built it ended, or did not answer in time")

    def _attempt(self, jobs: Sequence[Job]) -> list[Candidate | Failure | None]:
        """What became of ``jobs``; None for those that were lost with a process."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._count, self._context, _begin)
        futures: list[Future[Candidate]] = []
        with suppress(BrokenProcessPool):
            futures += (self._pool.submit(self._build, job) for job in jobs)
        late, done = set(futures), set(futures)
        # Of builds that hang one does not end, but others do: when none does, all that run hang.
        while late and done:
            done, late = wait(late, self._timeout_s, FIRST_COMPLETED)
        results = [None if future in late else _result(future) for future in futures]
        results += [None] * (len(jobs) - len(futures))
        if None in results:
            self._stop()
        return results

    def _stop(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        # One that hangs would not stop otherwise.
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)


def _result(future: Future[Candidate]) -> Candidate | Failure | None:
    try:
        return future.result()
    except BrokenProcessPool:
        return None
    except TvmKpError as error:
        return Failure("build", str(error))
    except Exception as error:  # TVM raises many kinds for a schedule that it cannot lower
        return Failure("build", told(error))


def _begin() -> None:
    """Ctrl-C is for the session, which ends its workers itself; they end, too, if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_session, daemon=True).start()


def _end_with_session() -> None:
    session = multiprocessing.parent_process()
    if session is not None:
        session.join()
        os._exit(1)
