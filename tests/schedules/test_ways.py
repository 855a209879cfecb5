"""Every way through the choices of a rule gives what TVM's own VM, or numpy, says."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax, s_tir

from tvm_kp import board, graph
from tvm_kp.c.model import make_model
from tvm_kp.kernel.schedule import Way, load_rules, schedule, ways
from tvm_kp.kernel.space import Choose
from tvm_kp.target import Target

op = relax.op
M55 = "llvm -mcpu=cortex-m55"


class Drawn(Choose):
    """Answers with any of the options."""

    def __init__(self, data: st.DataObject) -> None:
        super().__init__()
        self._data = data

    def _choose(self, _name, options, _default):
        return self._data.draw(st.sampled_from(options))


def drawn(function, rules, data):
    """Any way of any rule that applies, but for those that are for what no other does."""
    applied = []
    for rule in rules:
        choose = Drawn(data)
        last = rule.priority < 0 and applied
        if not last and rule.module.apply(s_tir.Schedule(function), choose) is not None:
            applied.append(Way(rule.name, rule.version, choose.made))
    return data.draw(st.sampled_from(applied))


def run(legal, target, inputs, data):
    """The outputs of a module whose functions are scheduled in ways that ``data`` draws."""
    loaded, taken = Target.load(target), []
    isa, kind = loaded.isa, loaded.codegen.kind
    rules = load_rules(isa, kind)

    def tuned(function):
        taken.append(drawn(function, rules, data))
        return taken[-1]

    kernels = schedule(legal, isa, tuned, kind)
    llvm = loaded if kind == "llvm" else None
    model = make_model(
        legal, kernels, name="m", target=loaded.name, alignment=8, decisions=(), llvm=llvm
    )
    found = board.run(model, loaded, {n: x[None] for n, x in inputs.items()})
    return [output[0] for output in found.outputs.values()], taken


def assert_same_as_vm(mod, target, data):
    legal = graph.legalize()(mod)
    random = np.random.default_rng(0)
    shapes = {p.name: [int(n) for n in p.ty.shape] for p in mod["main"].params}
    inputs = {n: random.uniform(-2, 2, s).astype("float32") for n, s in shapes.items()}
    vm = relax.VirtualMachine(relax.build(legal, target="llvm"), tvm.cpu())
    expected = [x.numpy() for x in vm["main"](*map(tvm.runtime.tensor, inputs.values()))]
    found, taken = run(legal, target, inputs, data)
    for value, wanted in zip(found, expected, strict=True):
        error = np.abs(value.astype("float64") - wanted).max()
        assert error <= 2e-6 * max(1, np.abs(wanted).max()), f"{taken} on {target}: {error}"


@st.composite
def products(draw):
    """Shapes of X and W, either of which may be the weights, and whether a bias is added."""
    batch = draw(st.sampled_from([(), (1,), (3,)]))
    rows, depth = draw(st.integers(1, 13)), draw(st.one_of(st.integers(1, 9), st.integers(10, 43)))
    columns = draw(st.one_of(st.integers(1, 9), st.integers(10, 27)))
    return (*batch, rows, depth), (*batch, depth, columns), draw(st.booleans())


@pytest.mark.parametrize("target", ["mps2-an386", "host", "mps3-an547", "mps2-an385", M55])
def test_products(target, module):
    @settings(max_examples=6 if target == "mps2-an386" else 3)
    @given(st.lists(products(), min_size=6, max_size=6), st.data())
    def check(several, data):
        def build(emit, *operands):
            results = []
            for k, (_, w, bias) in enumerate(several):
                y = emit(op.matmul(operands[2 * k], operands[2 * k + 1]))
                results.append(emit(op.add(y, relax.const(np.ones(w[-1], "f")))) if bias else y)
            return results

        shapes = [shape for x, w, _ in several for shape in (x, w)]
        assert_same_as_vm(module(build, *shapes), target, data)

    check()


@pytest.mark.parametrize("target", ["host", "mps2-an386", "mps3-an547"])
def test_pointwise_functions(target, module):
    @settings(max_examples=3)
    @given(st.lists(st.integers(1, 21), min_size=4, max_size=4), st.data())
    def check(sizes, data):
        def build(emit, *inputs):
            results = []
            for x in inputs:
                kept = emit(op.tanh(emit(op.multiply(x, x))))
                results += [kept, emit(op.add(kept, emit(op.sigmoid(x)))), emit(op.abs(x))]
            return results

        shapes = [(1, size) for size in sizes]
        assert_same_as_vm(module(build, *shapes), target, data)

    check()


@pytest.mark.parametrize("target", ["mps3-an547", "mps2-an386"])
def test_integer_cells(target, integer_lstm):
    @settings(max_examples=8)
    @given(st.integers(1, 45), st.data())
    def check(size, data):
        mod, inputs, expected = integer_lstm(size)
        found, taken = run(graph.legalize()(mod), target, inputs, data)
        for value, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(value, wanted, strict=True, err_msg=str(taken))

    check()


@pytest.mark.parametrize(("shape", "fewest"), [((2, 8, 59), 30), ((22, 41, 4), 30), ((1, 1, 1), 2)])
def test_there_are_ways_to_choose_from_but_not_too_many(shape, fewest, module):
    rows, depth, columns = shape
    mod = module(lambda emit, x, y: [emit(op.matmul(x, y))], (rows, depth), (depth, columns))
    functions = [function for _, function in graph.legalize()(mod).functions_items()]
    (product,) = (function for function in functions if isinstance(function, tvm.tirx.PrimFunc))
    found = ways(product, ("dsp", "fpu"))
    assert fewest <= len(found) <= 120
    assert found[0].rule == "matmul_fpu"
