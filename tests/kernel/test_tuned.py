from __future__ import annotations

import pytest
from tvm import te, tirx

from tvm_kp.kernel.identity import key
from tvm_kp.kernel.schedule import Way, ways
from tvm_kp.kernel.tuned import TunedWays, way_of
from tvm_kp.tuning_records import Record, best

CORE, ISA, TVM = "cortex-m4", ("dsp", "fpu"), "0.27"


@pytest.fixture(scope="module")
def function() -> tirx.PrimFunc:
    x, w = te.placeholder((1, 12), name="x"), te.placeholder((12, 8), name="w")
    k = te.reduce_axis((0, 12))
    return te.create_prim_func(
        [x, w, te.compute((1, 8), lambda i, j: te.sum(x[i, k] * w[k, j], k))]
    )


def record(function: tirx.PrimFunc, way: Way, cost: float, tvm: str = TVM) -> Record:
    chosen = way.rule, way.version, way.choices
    return Record(CORE, key(function), "a product", *chosen, "instructions", cost, tvm)


def tuned(*records: Record) -> TunedWays:
    return TunedWays(best(records, CORE, TVM), ISA)


def test_a_record_is_of_its_way(function: tirx.PrimFunc) -> None:
    for way in ways(function, ISA):
        assert way_of(record(function, way, 1.0)) == way


def test_the_best_is_found(function: tirx.PrimFunc) -> None:
    first, *_, last = ways(function, ISA)
    known = tuned(record(function, first, 20.0), record(function, last, 10.0))
    assert known(function) == last
    assert known(te.create_prim_func([te.placeholder((1,))])) is None
    assert (known.used, known.stale) == (1, 0)


def test_what_the_rules_do_not_offer_is_stale(function: tirx.PrimFunc) -> None:
    known = tuned(record(function, Way("gone", 1), 10.0))
    assert known(function) is None
    assert (known.used, known.stale) == (0, 1)


def test_rules_that_other_code_prefers_are_passed_over(function: tirx.PrimFunc) -> None:
    way = ways(function, ())[0]
    found = best([record(function, way, 10.0)], CORE, TVM)
    assert TunedWays(found, (), kind="llvm")(function) == way == TunedWays(found, ISA)(function)
    known = TunedWays(found, ISA, kind="llvm")
    assert known(function) is None
    assert (known.used, known.stale) == (0, 0)


def test_what_another_tvm_measured_is_stale(function: tirx.PrimFunc) -> None:
    known = tuned(record(function, ways(function, ISA)[0], 10.0, tvm="0.26"))
    assert known(function) is None
    assert (known.used, known.stale) == (0, 1)
