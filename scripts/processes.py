"""Work on many jobs at once, in processes that end with this one."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from tvm_kp.errors import RunError

Job = TypeVar("Job")


def finished(processes: int, work: Callable[[Job], None], jobs: Sequence[Job]) -> Iterator[Job]:
    """Each job once ``work`` is through with it, here or in several processes."""
    if processes <= 1:
        for job in jobs:
            work(job)
            yield job
        return
    with pool(processes) as workers:
        futures: dict[Future[None], Job] = {workers.submit(work, job): job for job in jobs}
        for future in as_completed(futures):
            try:
                future.result()
            except BrokenProcessPool as error:
                message = "a process ended, perhaps for want of memory; try again with --jobs 1"
                raise RunError(message) from error
            yield futures[future]


@contextmanager
def pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes end at once if this one is interrupted or fails."""
    context = multiprocessing.get_context("spawn")
    quiet = (signal.SIGINT, signal.SIG_DFL)
    with ProcessPoolExecutor(processes, context, signal.signal, quiet) as workers:
        try:
            yield workers
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise
