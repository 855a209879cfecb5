from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_kp import board, graph
from tvm_kp.c.model import make_model
from tvm_kp.kernel.schedule import load_rules, schedule
from tvm_kp.target import Target

OP = relax.op


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


def test_the_fpu_rule_loads_several_registers_at_once():
    mod, _, _ = _products(with_bias=True)
    legal = graph.legalize()(mod)
    assert any("kp_load8" in kernel.script() for kernel in schedule(legal, ("fpu",)).values())
    assert not any("kp_" in kernel.script() for kernel in schedule(legal, ()).values())
