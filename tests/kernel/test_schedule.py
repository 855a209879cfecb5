from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax, te, tirx

from tvm_kp import board, graph
from tvm_kp.c.model import make_model
from tvm_kp.kernel.schedule import Way, is_offered, load_rules, schedule, schedule_one, ways
from tvm_kp.kernel.space import StaleChoices
from tvm_kp.target import Target

OP = relax.op
M4 = ("dsp", "fpu")


def _shapes() -> list[tuple[int, int, int, int]]:
    """(blocks, rows, depth, columns): every tail of a tile, primes, ones, and some at random."""
    random = np.random.default_rng(0)
    edges = [(1, 1, 1, 1), (1, 1, 7, 16), (1, 1, 8, 17), (1, 2, 5, 8), (4, 2, 8, 59), (4, 5, 4, 8)]
    edges += [(1, 1, 2, columns) for columns in range(1, 34)]
    drawn = random.integers(1, [5, 12, 41, 41], (24, 4))
    return edges + [tuple(int(size) for size in shape) for shape in drawn]


SHAPES = _shapes()


def _products(with_bias: bool) -> tuple[tvm.IRModule, np.ndarray, list[np.ndarray]]:
    """One function with a product of every shape on parts of one input, and what it returns."""
    random = np.random.default_rng(1)
    longest = max(blocks * rows * depth for blocks, rows, depth, _ in SHAPES)
    data = random.uniform(-1, 1, longest).astype("float32")
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((longest,), "float32"))
    results, expected = [], []
    with builder.function("main", [x]):
        with builder.dataflow():
            for blocks, rows, depth, columns in SHAPES:
                size = blocks * rows * depth
                w = random.uniform(-1, 1, (blocks, depth, columns)).astype("float32") / depth
                part = builder.emit(OP.strided_slice(x, [0], [0], [size]))
                part = builder.emit(OP.reshape(part, (1, blocks, rows, depth)))
                result = builder.emit(OP.matmul(part, relax.const(w)))
                wanted = data[:size].reshape(1, blocks, rows, depth).astype("float64") @ w
                if with_bias:
                    bias = random.uniform(-1, 1, (blocks, rows, columns)).astype("float32")
                    result = builder.emit(OP.add(result, relax.const(bias)))
                    wanted = wanted + bias
                results.append(result)
                expected.append(wanted)
            output = builder.emit_output(relax.Tuple(results))
        builder.emit_func_output(output)
    return builder.get(), data, expected


@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("name", ["host", "mps2-an386"])
def test_products_of_all_shapes(name, with_bias):
    mod, data, expected = _products(with_bias)
    target = Target.load(name)
    legal = graph.legalize()(mod)
    kernels = schedule(legal, target.isa)
    model = make_model(legal, kernels, name="m", target=name, alignment=8, decisions=())
    found = board.run(model, target, {"x": data}).outputs
    for spec, wanted, shape in zip(model.outputs, expected, SHAPES, strict=True):
        error = np.abs(found[spec.name][0] - wanted).max()
        assert error < 2e-6, f"{shape} is {error} off"


def test_rules_that_need_more_come_first():
    with_fpu = [rule.name for rule in load_rules(("dsp", "fpu"))]
    assert with_fpu.index("matmul_fpu") < with_fpu.index("matmul_c") < with_fpu.index("other_c")
    assert "matmul_fpu" not in [rule.name for rule in load_rules(())]


def test_rules_are_for_kinds_of_code():
    isa = ("dsp", "fpu", "mve", "mve.fp")
    c, llvm = ({rule.name for rule in load_rules(isa, kind)} for kind in ("c", "llvm"))
    assert c - llvm == {"integer_matmul_mve", "pointwise_mve", "pointwise_float_mve"}
    assert llvm - c == {"pointwise_vectors"}


def _product() -> tirx.PrimFunc:
    x, w = te.placeholder((1, 12), name="x"), te.placeholder((12, 8), name="w")
    k = te.reduce_axis((0, 12))
    y = te.compute((1, 8), lambda i, j: te.sum(x[i, k] * w[k, j], k))
    return te.create_prim_func([x, w, y])


def _same(one: tirx.PrimFunc, other: tirx.PrimFunc) -> bool:
    return tvm_ffi.structural_equal(one, other, map_free_vars=True)


@pytest.mark.parametrize("isa", [(), ("fpu",), M4], ids=str)
def test_all_ways_differ_and_the_first_is_the_default(isa):
    found = ways(_product(), isa)
    told = [(way.rule, tuple(way.choices.items())) for way in found]
    assert len(set(told)) == len(told) >= 1
    (default,) = schedule(tvm.IRModule({"main": _product()}), isa).values()
    assert _same(schedule_one(_product(), isa, found[0]), default)
    assert all(is_offered(_product(), isa, way) for way in found)


def test_rules_of_last_resort_add_nothing():
    """What a rule with a priority below 0 would make of a product is not worth a try."""
    last = {rule.name for rule in load_rules(M4) if rule.priority < 0}
    assert last and not last & {way.rule for way in ways(_product(), M4)}


def test_tuned_ways_are_taken():
    function = _product()
    *_, last = ways(function, M4)
    (kernel,) = schedule(tvm.IRModule({"main": function}), M4, lambda _: last).values()
    assert _same(kernel, schedule_one(function, M4, last))


def test_stale_ways():
    function = _product()
    way = ways(function, M4)[0]
    others = [rule for rule in load_rules(M4) if rule.name not in {way.rule, "other_c"}]
    integer = next(rule for rule in others if rule.name.startswith("integer"))
    stale = {
        f"no version {way.version} of the rule gone": replace(way, rule="gone"),
        f"no version {way.version + 1} of": replace(way, version=way.version + 1),
        "no choice of unasked": replace(way, choices={**way.choices, "unasked": 1}),
        f"{integer.name} does not apply": Way(integer.name, integer.version),
    }
    for words, one in stale.items():
        with pytest.raises(StaleChoices, match=words):
            schedule_one(function, M4, one)
        assert not is_offered(function, M4, one)


def test_a_way_of_another_core_is_not_offered():
    way = next(way for way in ways(_product(), M4) if way.rule == "matmul_fpu")
    assert is_offered(_product(), M4, way) and not is_offered(_product(), (), way)
