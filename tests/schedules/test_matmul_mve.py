"""Outer products of floats in vectors: what numpy says, in few instructions on a Cortex-M55."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_kp import board, graph
from tvm_kp.c.model import make_model
from tvm_kp.kernel.schedule import schedule
from tvm_kp.target import Target

M55 = "mps3-an547"
op = relax.op


@dataclass(frozen=True)
class Case:
    """``x`` times ``weights`` or, on the left ``side``, the reverse; then a bias and a function."""

    x: tuple[int, ...]
    weights: tuple[int, ...]
    side: str = "right"
    bias: tuple[int, ...] | None = None
    relu: bool = False

    def arrays(self):
        random = np.random.default_rng(sum((*self.x, *self.weights)))
        shapes = (self.x, self.weights, self.bias or ())
        return [random.uniform(-1, 1, shape).astype("float32") for shape in shapes]

    def emit(self, emit, x):
        _, weights, bias = map(relax.const, self.arrays())
        y = emit(op.matmul(*((weights, x) if self.side == "left" else (x, weights))))
        y = emit(op.add(y, bias)) if self.bias is not None else y
        return emit(op.nn.relu(y)) if self.relu else y

    def expected(self):
        x, weights, bias = (array.astype("float64") for array in self.arrays())
        y = weights @ x if self.side == "left" else x @ weights
        y = y + bias if self.bias is not None else y
        return np.maximum(y, 0) if self.relu else y


@st.composite
def cases(draw):
    few, many = st.integers(1, 9), st.integers(10, 70)
    sizes = st.one_of(few, many)
    batch = draw(st.lists(st.integers(1, 3), max_size=2))
    rows, depth, columns = draw(st.one_of(st.just(1), sizes)), draw(sizes), draw(sizes)
    left, right = (rows, depth), (depth, columns)
    kept = (*batch[draw(st.integers(0, len(batch))) :],)
    side = draw(st.sampled_from(["left", "right"]))
    x, weights = (right, left) if side == "left" else (left, right)
    biases = [None, (columns,), (rows, columns), (*batch, rows, columns), (rows, 1)]
    bias = draw(st.sampled_from(biases))
    return Case((*batch, *x), (*kept, *weights), side, bias, draw(st.booleans()))


def build(module, several):
    def results(emit, *inputs):
        return [case.emit(emit, x) for case, x in zip(several, inputs, strict=True)]

    return graph.legalize()(module(results, *(case.x for case in several)))


def check(several, legal, target):
    """The results are numpy's; how many instructions that takes, where they are counted."""
    # Load-multiples of the FPU have no C for other cores.
    kernels = schedule(legal, set(Target.load(M55).isa) - {"fpu" if target == "host" else ""})
    model = make_model(legal, kernels, name="m", target=target, alignment=8, decisions=())
    inputs = {f"x{k}": case.arrays()[0][None] for k, case in enumerate(several)}
    found = board.run(model, Target.load(target), inputs)
    for case, result in zip(several, found.outputs.values(), strict=True):
        wanted = case.expected()
        error = np.abs(result[0] - wanted).max()
        assert error <= 2e-6 * max(1, np.abs(wanted).max()), f"{case} on {target}: {error}"
    return found.instructions[0] if found.instructions else 0


@settings(max_examples=3)
@given(several=st.lists(cases(), min_size=12, max_size=12), seed=st.integers(0, 2**32))
def test_every_way_is_what_numpy_says(module, some_way, several, seed):
    """On the board, and in the C that compilers for other cores see."""
    legal = build(module, several)
    with some_way(seed):
        check(several, legal, M55)
    check(several, legal, "host")


def test_special_values_go_through(module):
    case = Case((1, 7), (7, 9), bias=(9,))
    legal = build(module, [case])
    kernels = schedule(legal, Target.load(M55).isa)
    model = make_model(legal, kernels, name="m", target=M55, alignment=8, decisions=())
    x, weights, bias = case.arrays()
    for value in (np.inf, -np.inf, np.nan, 3e38):
        x[0, 3] = value
        with np.errstate(over="ignore", invalid="ignore"):
            wanted = x @ weights + bias
        (found,) = board.run(model, Target.load(M55), {"x0": x[None]}).outputs.values()
        np.testing.assert_allclose(found[0], wanted, rtol=1e-5)


BARS = {
    "dense": (Case((1, 128), (128, 472), bias=(1, 472)), 32_000),
    "a factor on the left": (Case((1, 17, 4), (20, 17), "left"), 520),
    "factors on the right": (Case((1, 4, 2, 8), (4, 8, 59), bias=(4, 2, 59)), 2_150),
}


@pytest.mark.parametrize("name", BARS)
def test_few_instructions_are_executed(module, name):
    case, bar = BARS[name]
    assert check([case], build(module, [case]), M55) <= bar


@pytest.mark.parametrize(
    ("case", "outer"),
    [
        (Case((3, 5), (5, 1)), True),
        (Case((5, 4), (3, 5), "left"), True),
        (Case((5, 3), (3, 5), "left"), True),
        (Case((3, 5), (5, 8), bias=(3, 1)), False),  # no vector
    ],
)
def test_left_to_other_rules(module, kernels, case, outer):
    mod = module(lambda emit, x: [case.emit(emit, x)], case.x)
    assert all(("kp_outer" in text) == outer for text in kernels(mod, M55).values())


def test_products_of_inputs_and_boards_without_floats_in_mve_are_left_to_other_rules(module):
    mod = module(lambda emit, x, y: [emit(op.matmul(x, y))], (3, 11), (11, 9))
    legal = build(module, [Case((1, 9), (9, 8))])
    for one, isa in ((graph.legalize()(mod), Target.load(M55).isa), (legal, ("dsp", "fpu", "mve"))):
        (function,) = schedule(one, isa).values()
        assert "kp_outer" not in function.script()
