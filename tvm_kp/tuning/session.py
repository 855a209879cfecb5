"""A session of tuning: candidates are built, run on the board, checked, and recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tvm

from tvm_kp import scratch, tuning_records
from tvm_kp.kernel.schedule import Way
from tvm_kp.kernel.tuned import way_of
from tvm_kp.target import Target
from tvm_kp.tuning import measure
from tvm_kp.tuning.boards import Boards, LocalBoards
from tvm_kp.tuning.candidates import Build, Candidate, Failure, Job, as_json
from tvm_kp.tuning.measure import Cost
from tvm_kp.tuning.samples import Sample, samples_of
from tvm_kp.tuning.search import Search
from tvm_kp.tuning.tasks import Task
from tvm_kp.tuning.workers import Workers
from tvm_kp.tuning_records import Record

# In instructions, or cycles of an attached board.
_FOREVER = 1 << 24  # of the default, of which nothing is known yet
_SLOWER, _LEAST = 16, 1 << 18  # than the default, and by itself, that is taken for a hang


@dataclass
class Progress:
    """Where a session stands with one task. Costs are of one call.

    ``tried`` are all candidates with a record, ``since`` those after the best one; ``curve`` has
    the best cost after every one of them.
    """

    task: Task
    default: float | None = None
    best: float | None = None
    way: Way | None = None
    tried: int = 0
    since: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    exhausted: bool = False
    curve: list[tuple[int, float]] = field(default_factory=list)

    @property
    def speed_up(self) -> float | None:
        """The default's cost over the best's."""
        return None if self.default is None or not self.best else self.default / self.best

    def note(self, way: Way, cost: Cost) -> None:
        """A candidate that was measured."""
        self.tried += 1
        self.since += 1
        if isinstance(cost, Failure):
            self.failures[cost.kind] = self.failures.get(cost.kind, 0) + 1
            return
        if way == self.task.default:
            self.default = cost
        if self.best is None or cost < self.best:
            self.best, self.way, self.since = cost, way, 0
        self.curve.append((self.tried, self.best))


@dataclass(frozen=True)
class Settings:
    """``trials`` are those of all tasks together; a task ends after ``early_stopping`` of them
    that found nothing better. ``timeout_s`` is for building one candidate, ``objective`` one of
    ``tuning_records.OBJECTIVES`` (default: what the board counts)."""

    trials: int = 1000
    early_stopping: int | None = None
    parallel: int = 2
    timeout_s: float = 60.0
    objective: str | None = None


Told = Callable[["Session"], None]


class Session:
    """Tunes ``tasks`` for ``target``, and appends what it measures to the records in ``path``.

    ``boards`` are those of this computer unless given, and ``build`` theirs. ``told`` is called
    after every batch. ``objective`` is what is made small, ``trials`` and ``seconds`` are those of
    this session.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        target: Target,
        path: Path,
        search: Callable[[Task], Search],
        settings: Settings,
        told: Told = lambda _: None,
        boards: Boards | None = None,
        build: Build | None = None,
    ) -> None:
        self._target, self._path, self._search, self._told = target, path, search, told
        self.objective = tuning_records.objective_of(target, settings.objective)
        cycles = self.objective == tuning_records.CYCLES
        self._boards = boards or LocalBoards(target, settings.parallel, cycles)
        build = build or self._boards.build
        self._workers = Workers(build, settings.parallel, settings.timeout_s)
        self._place = target.core, tuning_records.board_of(target)
        self._samples: dict[str, list[Sample]] = {}
        self._searches: dict[str, Search] = {}
        self.settings = settings
        self.progress = [Progress(task) for task in tasks]
        self.trials, self.seconds = 0, 0.0

    def run(self, measured: Sequence[Record] = ()) -> None:
        """Measure until the trials are used up, or nothing is left to try.

        What was ``measured`` before is not tried again.
        """
        scratch.sweep()
        started = time.perf_counter()
        with self._workers:
            self._begin(measured)
            while (next_ := self._next()) is not None:
                self._round(next_)
                self.seconds = time.perf_counter() - started
                self._told(self)

    @property
    def flashes(self) -> int:
        """How often boards of this computer were flashed."""
        return self._boards.flashes

    def _known(self, task: Task, measured: Sequence[Record]) -> dict[int, Cost]:
        """By the index of a way: what it cost."""
        places = {_text(way): index for index, way in enumerate(task.ways)}
        known: dict[int, Cost] = {}
        for record in measured:
            mine = (record.core, record.board, record.tvm, record.objective, record.key)
            if mine == (*self._place, tvm.__version__, self.objective, task.key):
                place = places.get(_text(way_of(record)))
                if place is not None:
                    failure = Failure(record.failure, record.message)
                    known[place] = failure if record.cost is None else record.cost
        return known

    def _begin(self, measured: Sequence[Record]) -> None:
        """Take what is known of every task; build the default of those with ways left to try,
        with which all others compete, and begin with it."""
        known = {p.task.key: self._known(p.task, measured) for p in self.progress}
        left = [p for p in self.progress if len(known[p.task.key]) < len(p.task.ways)]
        with scratch.folder() as folder:
            jobs = [
                self._job(p.task, p.task.default, f"kp_default{k}", folder)
                for k, p in enumerate(left)
            ]
            costs = self._default_costs([p.task for p in left], self._workers.build(jobs))
        for progress in self.progress:
            key = progress.task.key
            self._start(progress, costs.get(key), known[key])
            self._told(self)

    def _start(self, progress: Progress, cost: Cost | None, known: Mapping[int, Cost]) -> None:
        """Begin a task with what is known of its ways, and with the cost of its default if that
        was measured."""
        task, costs = progress.task, dict(known)
        if cost is None:
            progress.exhausted = True
        else:
            costs[0] = cost
            if 0 not in known:
                self._note(progress, [task.default], [costs[0]])
        for place, found in known.items():
            progress.note(task.ways[place], found)
        progress.since = 0
        self._searches[task.key] = self._search(task)
        self._searches[task.key].tell(costs)

    def _default_costs(
        self, tasks: Sequence[Task], built: Sequence[Candidate | Failure]
    ) -> dict[str, Cost]:
        """What the defaults cost; the samples on which one is right are those of its task."""
        self._samples = {task.key: samples_of(task) for task in tasks}
        costs: dict[str, Cost] = {}
        calls: dict[str, tuple[Candidate, list[Sample]]] = {}
        for task, one in zip(tasks, built, strict=True):
            if isinstance(one, Failure):
                costs[task.key] = one
            else:
                calls[task.key] = one, self._samples[task.key]
        results = self._boards.run(list(calls.values()), _FOREVER)
        for (key, (default, samples)), found in zip(calls.items(), results, strict=True):
            self._samples[key], result = measure.usable(default, samples, found)
            costs[key] = measure.cost(default, self._samples[key], result)
        return costs

    def _next(self) -> Progress | None:
        """The task with the fewest trials for what it costs an inference."""
        if self.trials >= self.settings.trials:
            return None
        stop = self.settings.early_stopping
        left = [p for p in self.progress if not p.exhausted and (stop is None or p.since < stop)]
        return max(left, key=lambda p: p.task.calls * (p.best or 0) / p.tried, default=None)

    def _round(self, progress: Progress) -> None:
        """Try a batch of a task's ways."""
        task, search = progress.task, self._searches[progress.task.key]
        places = search.propose(min(self._boards.batch, self.settings.trials - self.trials))
        progress.exhausted = not places
        if not places:
            return
        ways = [task.ways[place] for place in places]
        with scratch.folder() as folder:
            jobs = [self._job(task, way, f"kp_trial{k}", folder) for k, way in enumerate(ways)]
            costs = self._costs(progress, self._workers.build(jobs))
        self._note(progress, ways, costs)
        search.tell(dict(zip(places, costs, strict=True)))

    def _costs(self, progress: Progress, built: Sequence[Candidate | Failure]) -> list[Cost]:
        samples = self._samples[progress.task.key]
        limit = max(_LEAST, _SLOWER * round(progress.default or _FOREVER))
        candidates = [one for one in built if isinstance(one, Candidate)]
        results = self._boards.run([(one, samples) for one in candidates], limit)
        costs = {
            candidate.symbol: measure.cost(candidate, samples, result)
            for candidate, result in zip(candidates, results, strict=True)
        }
        return [costs[one.symbol] if isinstance(one, Candidate) else one for one in built]

    def _note(self, progress: Progress, ways: Sequence[Way], costs: Sequence[Cost]) -> None:
        """Records first: whatever happens then, they are not lost."""
        pairs = list(zip(ways, costs, strict=True))
        tuning_records.append(
            self._path, [self._record(progress.task, way, cost) for way, cost in pairs]
        )
        for way, cost in pairs:
            progress.note(way, cost)
        self.trials += len(pairs)

    def _job(self, task: Task, way: Way, symbol: str, folder: Path) -> Job:
        function = as_json(task.function)
        return Job(function, task.aliased, task.joined, way, self._target, symbol, folder)

    def _record(self, task: Task, way: Way, cost: Cost) -> Record:
        failure = cost if isinstance(cost, Failure) else Failure("", "")
        return Record(
            core=self._place[0],
            board=self._place[1],
            key=task.key,
            label=task.label,
            rule=way.rule,
            version=way.version,
            choices=way.choices,
            objective=self.objective,
            cost=None if isinstance(cost, Failure) else cost,
            tvm=tvm.__version__,
            failure=failure.kind,
            message=failure.message,
        )


def _text(way: Way) -> str:
    """What tells ways apart."""
    return f"{way.rule} {way.version} {sorted(way.choices.items())}"
