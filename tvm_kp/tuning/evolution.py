"""MetaSchedule's evolutionary search over the ways of a kernel, guided by a cost model (XGBoost).

A way is one decision of a schedule's trace, which puts its index on the kernel as an annotation:
every trace is a legal program, and a mutation changes one of the choices of its way. The model
learns from the choices themselves, because kernels that rules build at once have no other features.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from types import ModuleType

import numpy as np
import tvm
from tvm import s_tir
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from tvm_kp.kernel.schedule import Way
from tvm_kp.tuning.candidates import Failure
from tvm_kp.tuning.measure import Cost
from tvm_kp.tuning.tasks import Task

_ANNOTATION = "kp.way"
_POPULATION, _WARM_UP, _SEED = 128, 16, 1
_EXPLORED = 8  # of so many candidates, one is random
_FAILED_S = 1e10  # what the model is told of a way that failed


class Evolution:
    """A ``Search``; MetaSchedule is started when there is more to try than fits a batch."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._left = dict.fromkeys(range(len(task.ways)))
        self._unlearned: dict[int, Cost] = {}
        self._waiting: dict[int, ms.MeasureCandidate] = {}

    def propose(self, count: int) -> list[int]:
        if len(self._left) <= count:
            return list(self._left)
        self._learn()
        # Some at random: a model that learns from what it likes alone never learns of the others.
        found = self._candidates(count - count // _EXPLORED)
        rest = [place for place in self._left if place not in found]
        missing = min(count - len(found), len(rest))
        return found + random.Random(len(rest)).sample(rest, missing)

    def tell(self, costs: Mapping[int, Cost]) -> None:
        self._unlearned.update(costs)
        for place in costs:
            self._left.pop(place, None)

    @cached_property
    def _context(self) -> ms.TuneContext:
        """MetaSchedule's state, with the space and what evolves it."""
        count = len(self._task.ways)
        space = ms.space_generator.ScheduleFn(
            lambda sch: _annotated(sch, count),
            sch_rules=[],
            postprocs=[],
            mutator_probs={_ChangeOneChoice(_neighbors(self._task.ways)): 1.0},
        )
        strategy = ms.search_strategy.EvolutionarySearch(
            population_size=_POPULATION, init_min_unmeasured=_POPULATION // 2
        )
        with _without_gpu_intrinsics():
            context = ms.TuneContext(
                self._mod,
                target=tvm.target.Target("llvm"),
                space_generator=space,
                search_strategy=strategy,
                rand_state=_SEED,
                num_threads=1,
                logger=_silent(),
            )
        context.pre_tuning(
            max_trials=2 * count + _POPULATION,
            num_trials_per_iter=_POPULATION,
            design_spaces=context.generate_design_space(),
            database=self._database,
            cost_model=self._model,
        )
        return context

    @cached_property
    def _mod(self) -> tvm.IRModule:
        return tvm.IRModule({"main": self._task.function.with_attr("global_symbol", "main")})

    @cached_property
    def _database(self) -> ms.database.Database:
        return ms.database.MemoryDatabase()

    @cached_property
    def _model(self) -> ms.cost_model.CostModel:
        extractor = _ChoiceFeatures(_features(self._task.ways))
        config = ms.cost_model.xgb_model.XGBConfig(nthread=1, seed=_SEED)
        return ms.cost_model.XGBModel(
            extractor=extractor, config=config, num_warmup_samples=_WARM_UP
        )

    def _learn(self) -> None:
        """Tell the model and the population what was measured since."""
        costs, self._unlearned = self._unlearned, {}
        context, workload = self._context, self._database.commit_workload(self._mod)
        candidates, results = [], []
        for place, cost in costs.items():
            sch = _annotated(s_tir.Schedule(self._mod), len(self._task.ways), place)
            seconds = _FAILED_S if isinstance(cost, Failure) else float(cost)
            candidates.append(ms.MeasureCandidate(sch, []))
            results.append(ms.runner.RunnerResult([seconds], None))
            record = ms.database.TuningRecord(sch.trace, workload, [seconds], context.target, [])
            self._database.commit_tuning_record(record)
        if candidates:
            self._model.update(context, candidates, results)

    def _candidates(self, count: int) -> list[int]:
        """Of all generations the ways that the model likes best and that are new."""
        candidates = self._context.generate_measure_candidates() or []
        if candidates:
            results = [ms.runner.RunnerResult([_FAILED_S], None)] * len(candidates)
            self._context.search_strategy.notify_runner_results(candidates, results)
        # It counts them as tried and finds none again: those that are not wait for their turn.
        self._waiting.update((_place(candidate.sch), candidate) for candidate in candidates)
        waiting = {place: one for place, one in self._waiting.items() if place in self._left}
        if not waiting:
            return []
        scores = self._model.predict(self._context, list(waiting.values()))
        best = np.argsort(-scores, kind="stable")[:count]
        return [list(waiting)[index] for index in best]


@derived_object
class _ChangeOneChoice(ms.mutator.PyMutator):
    def __init__(self, neighbors: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self._neighbors = neighbors
        self._random = random.Random(_SEED)

    def _initialize_with_tune_context(self, context: ms.TuneContext) -> None:
        pass

    def apply(self, trace: s_tir.schedule.Trace, _seed: int) -> s_tir.schedule.Trace | None:
        (inst,) = (i for i in trace.insts if i.kind.name == "SampleCategorical")
        near = self._neighbors[int(trace.decisions[inst])]
        if not near:
            return None
        return trace.with_decision(inst, self._random.choice(near), remove_postproc=True)

    def clone(self) -> _ChangeOneChoice:
        return _ChangeOneChoice(self._neighbors)


@derived_object
class _ChoiceFeatures(ms.feature_extractor.PyFeatureExtractor):
    def __init__(self, features: np.ndarray) -> None:
        super().__init__()
        self._features = features

    def extract_from(
        self, _context: ms.TuneContext, candidates: list[ms.MeasureCandidate]
    ) -> list[tvm.runtime.Tensor]:
        rows = (self._features[[_place(candidate.sch)]] for candidate in candidates)
        return [tvm.runtime.tensor(row) for row in rows]


def _annotated(sch: s_tir.Schedule, count: int, place: int | None = None) -> s_tir.Schedule:
    """A schedule whose only decision is the index of a way; ``place``, or else a random one."""
    index = sch.sample_categorical(list(range(count)), [1 / count] * count, decision=place)
    sch.annotate(sch.get_sblock("root"), _ANNOTATION, index)
    return sch


def _place(sch: s_tir.Schedule) -> int:
    return int(sch.get(sch.get_sblock("root")).annotations[_ANNOTATION])


def _answers(way: Way) -> dict[tuple[str, str], int | str]:
    """By rule and name what was chosen, and which rule."""
    return {("", "rule"): way.rule, **{(way.rule, k): v for k, v in way.choices.items()}}


def _neighbors(ways: Sequence[Way]) -> list[list[int]]:
    """For each way those that differ in one answer."""
    answers = [_answers(way).items() for way in ways]
    return [
        [other for other, items in enumerate(answers) if len(items ^ mine) in (1, 2)]
        for mine in answers
    ]


def _features(ways: Sequence[Way]) -> np.ndarray:
    """(ways, questions) float32: the answer to every question of every rule, -1 if not asked.

    Words become numbers in the order in which they appear.
    """
    answers = [_answers(way) for way in ways]
    questions = list(dict.fromkeys(question for one in answers for question in one))
    words = list(dict.fromkeys(value for one in answers for value in one.values()))
    return np.array(
        [
            [
                -1 if value is None else value if isinstance(value, int) else words.index(value)
                for value in map(one.get, questions)
            ]
            for one in answers
        ],
        np.float32,
    )


@contextmanager
def _without_gpu_intrinsics() -> Iterator[None]:
    """Let a ``TuneContext`` find the intrinsics that it imports for GPUs: parsing them takes half
    a minute, and no kernel here can use one."""
    name = "tvm.s_tir.tensor_intrin"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]


def _silent() -> logging.Logger:
    """The session reports; MetaSchedule's log of every step would hide that."""
    logger = logging.getLogger("tvm_kp.tuning.evolution")
    logger.setLevel(logging.ERROR)
    return logger
