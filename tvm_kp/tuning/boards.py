"""The boards that candidates run on: emulated or attached here, or behind TVM's RPC tracker."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from tvm_kp.board import TrialResult
from tvm_kp.errors import RunError
from tvm_kp.target import Target, is_attached
from tvm_kp.tuning import measure, remote
from tvm_kp.tuning.candidates import Build, Candidate, build, write
from tvm_kp.tuning.samples import Sample

T = TypeVar("T")
Calls = tuple[Candidate, Sequence[Sample]]  # of a candidate, one a sample

BATCH, ATTACHED_BATCH = 32, 64  # candidates

ATTEMPTS = 3  # on different boards, before what they share is to blame
_ANSWER_S = 5.0  # of a tracker
_WAIT_S = 30.0  # for a board, before asking whether there still is one
_SESSION_S = 600  # after which a server gives up a session


class Boards(Protocol):
    """Where candidates run. ``build`` is what makes them ready for that, ``batch`` how many are
    best run at once, and ``flashes`` how often boards here were flashed."""

    build: Build
    batch: int
    flashes: int

    def run(self, calls: Sequence[Calls], limit: int) -> list[TrialResult]:
        """Call every candidate on each of its samples; one that takes ``limit`` instructions or
        more, on attached boards cycles, hangs."""


class LocalBoards:
    """Boards of this computer: ``count`` emulators, which estimate ``cycles`` if asked for, or the
    one that is attached."""

    def __init__(self, target: Target, count: int, cycles: bool = False) -> None:
        self._target, self._cycles = target, cycles
        self._count = 1 if is_attached(target) else count
        self.build: Build = build
        self.batch, self.flashes = batch_of(target), 0

    def run(self, calls: Sequence[Calls], limit: int) -> list[TrialResult]:
        def part(some: Sequence[Calls]) -> list[TrialResult]:
            trials = [candidate.trial(samples) for candidate, samples in some]
            return measure.run(trials, self._target, limit, self._cycles, self._flashed)

        return _in_parts(calls, self._count, self._count, part)

    def _flashed(self) -> None:
        self.flashes += 1


class TrackedBoards:
    """All boards of ``key`` at the tracker ``address``, "host:port"; ``cycles`` as above.

    Raises ``RunError`` if there is no such tracker, or none of its boards has the key.
    """

    def __init__(self, target: Target, address: str, key: str, cycles: bool = False) -> None:
        host, _, port = address.rpartition(":")
        self._target, self._host, self._port, self._key = target, host, int(port), key
        self._cycles = cycles
        self.build: Build = write
        self.batch, self.flashes = batch_of(target), 0
        self.count()

    def count(self) -> int:
        """How many boards there are, busy or not."""
        servers = [server["key"] for server in self._tracker().summary()["server_info"]]
        count = servers.count(f"server:{self._key}")
        if count == 0:
            others = ", ".join(sorted({name.partition(":")[2] for name in servers})) or "none"
            raise RunError(
                f"the tracker {self._host}:{self._port} has no board with the key {self._key!r} "
                f"(it has: {others}); start one with tvm-kp board-server"
            )
        return count

    def run(self, calls: Sequence[Calls], limit: int) -> list[TrialResult]:
        def part(some: Sequence[Calls]) -> list[TrialResult]:
            sources = [remote.Source(c.symbol, c.source, c.memories(s)) for c, s in some]
            return self._asked(remote.request(sources, self._target, limit, self._cycles))

        boards = self.count()
        # In smaller parts than there are boards, so that a slow one does not keep all waiting; but
        # each is a flash of a board that is attached.
        parts = boards if is_attached(self._target) else 2 * boards
        return _in_parts(calls, boards, parts, part)

    def _asked(self, content: bytearray) -> list[TrialResult]:
        """The answer of any board; one that vanishes meanwhile is replaced by another."""
        lost: Exception | None = None
        for _ in range(ATTEMPTS):
            answer = None
            try:
                answer = self._board().get_function(remote.FUNCTION)(content)
            except (RuntimeError, OSError, AttributeError) as error:
                lost = error
            if answer is not None:
                return remote.results(answer)
        reason = str(lost).strip().splitlines()[-1:] or [type(lost).__name__]
        raise RunError(f"{ATTEMPTS} boards of {self._key!r} were lost in a row: {reason[0]}")

    def _board(self) -> Any:
        """A session with a free board, as soon as there is one."""
        while True:
            self.count()
            tracker = self._tracker()
            # A request is answered when a board is free, and never if the last one vanishes.
            tracker._sock.settimeout(_WAIT_S)
            try:
                return tracker.request(self._key, session_timeout=_SESSION_S, max_retry=1)
            except RuntimeError:
                continue

    def _tracker(self) -> Any:
        return connect(self._host, self._port)


def connect(host: str, port: int) -> Any:
    """A session with TVM's RPC tracker; raises ``RunError`` if there is none."""
    from tvm import rpc

    try:
        # TVM would try for a minute.
        socket.create_connection((host, port), _ANSWER_S).close()
        return rpc.connect_tracker(host, port)
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"no RPC tracker answers at {host}:{port} ({error}); start one with "
            f"python -m tvm.exec.rpc_tracker --host {host} --port {port} --port-end {port + 1}"
        ) from None


def batch_of(target: Target) -> int:
    """How many candidates to try at once: a flash of an attached board takes as long as some."""
    return ATTACHED_BATCH if is_attached(target) else BATCH


def _in_parts(
    items: Sequence[Calls],
    threads: int,
    parts: int,
    run: Callable[[Sequence[Calls]], list[T]],
) -> list[T]:
    """``run`` of every part of ``items``, ``threads`` at once; the results in order."""
    places = [range(k, len(items), parts) for k in range(min(parts, len(items)))]
    results: dict[int, T] = {}
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda part: run([items[k] for k in part]), places)
        for part, some in zip(places, found, strict=True):
            results.update(zip(part, some, strict=True))
    return [results[k] for k in range(len(items))]
