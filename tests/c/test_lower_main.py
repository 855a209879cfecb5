"""Hand-made recurrences and views: what the C computes is what numpy says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_kp import graph
from tvm_kp.c.lower_main import lower_main
from tvm_kp.c.program import Copy, Loop, Zero
from tvm_kp.errors import ModelError
from tvm_kp.graph import scan
from tvm_kp.kernel.schedule import schedule

op = relax.op
STEPS, SIZE = 5, 7
ROW = (1, SIZE)


def drawn(*shapes, seed=0):
    random = np.random.default_rng(seed)
    return [random.uniform(-1, 1, shape).astype("float32") for shape in shapes]


def run_numpy(step, xs, states):
    """(stacked outputs…, final states…) of a step in numpy."""
    rows = []
    for t in range(len(xs[0])):
        results = step([x[t] for x in xs], states)
        rows.append(results[: len(results) - len(states)])
        states = results[len(results) - len(states) :]
    return [*(np.stack(column) for column in zip(*rows, strict=True)), *states]


def program_of(mod):
    legal = graph.legalize()(mod)
    return lower_main(legal, schedule(legal, ()))


def copies(program):
    return [statement for statement, _ in program.flat() if isinstance(statement, Copy)]


# Each case: what a step returns from (emit, xs, states), and the same in numpy.
def accumulate(emit, xs, states):
    new = emit(op.add(states[0], xs[0]))
    return [new, new]


def accumulate_numpy(xs, states):
    return [states[0] + xs[0]] * 2


def swapped(emit, xs, states):
    return [emit(op.add(states[0], xs[0])), states[1], states[0]]


def swapped_numpy(xs, states):
    return [states[0] + xs[0], states[1], states[0]]


def rotated(emit, xs, states):
    return [states[0], states[1], states[2], emit(op.multiply(states[0], xs[0]))]


def rotated_numpy(xs, states):
    return [states[0], states[1], states[2], states[0] * xs[0]]


def unchanged(emit, xs, states):
    new = emit(op.add(states[0], op.multiply(states[1], xs[0])))
    return [new, new, states[1]]


def unchanged_numpy(xs, states):
    new = states[0] + states[1] * xs[0]
    return [new, new, states[1]]


def old_state_is_the_output(emit, xs, states):
    return [states[0], emit(op.add(states[0], xs[0]))]


def old_state_is_the_output_numpy(xs, states):
    return [states[0], states[0] + xs[0]]


def delay_line(emit, xs, states):
    """The new second state is the old first one, whose new value comes first."""
    return [states[1], emit(op.add(op.tanh(states[0]), xs[0])), states[0]]


def delay_line_numpy(xs, states):
    return [states[1], np.tanh(states[0]) + xs[0], states[0]]


def read_after(emit, xs, states):
    """The old state is read by a reduction after its new value was computed."""
    new = emit(op.add(states[0], xs[0]))
    total = emit(op.matmul(states[0], relax.const(np.ones((SIZE, SIZE), "float32"))))
    return [total, new]


def read_after_numpy(xs, states):
    return [states[0] @ np.ones((SIZE, SIZE), "float32"), states[0] + xs[0]]


def both_states_one_value(emit, xs, states):
    new = emit(op.add(op.multiply(states[0], states[1]), xs[0]))
    return [new, new, new]


def both_states_one_value_numpy(xs, states):
    return [states[0] * states[1] + xs[0]] * 3


def constant_state(emit, xs, states):
    fixed = relax.const(np.arange(SIZE, dtype="float32").reshape(ROW))
    return [emit(op.add(states[0], xs[0])), fixed]


def constant_state_numpy(xs, states):
    return [states[0] + xs[0], np.arange(SIZE, dtype="float32").reshape(ROW)]


def next_input(emit, xs, states):
    return [emit(op.subtract(xs[0], states[0])), xs[0]]


def next_input_numpy(xs, states):
    return [xs[0] - states[0], xs[0]]


def shift_register(emit, xs, states):
    """The state moves one place on and takes the first value of x."""
    joined = emit(op.concat([xs[0], states[0]], axis=1))
    kept = emit(op.strided_slice(joined, axes=[1], begin=[SIZE - 1], end=[2 * SIZE - 1]))
    return [emit(op.tanh(kept)), emit(op.tanh(kept))]


def shift_register_numpy(xs, states):
    kept = np.concatenate([xs[0], states[0]], axis=1)[:, SIZE - 1 : 2 * SIZE - 1]
    return [np.tanh(kept)] * 2


def joined_state(emit, xs, states):
    """A state made by joining two values."""
    half = emit(op.strided_slice(op.add(states[0], xs[0]), axes=[1], begin=[0], end=[3]))
    rest = emit(op.strided_slice(states[0], axes=[1], begin=[0], end=[SIZE - 3]))
    new = emit(op.concat([rest, half], axis=1))
    return [new, new]


def joined_state_numpy(xs, states):
    new = np.concatenate([states[0][:, : SIZE - 3], (states[0] + xs[0])[:, :3]], axis=1)
    return [new, new]


def reshaped_state(emit, xs, states):
    column = emit(op.reshape(states[0], (SIZE, 1)))
    new = emit(op.tanh(op.add(column, op.reshape(xs[0], (SIZE, 1)))))
    row = emit(op.reshape(new, ROW))
    return [row, row]


def reshaped_state_numpy(xs, states):
    return [np.tanh(states[0] + xs[0])] * 2


def product(emit, xs, states):
    """A state multiplied by a matrix cannot be overwritten while it is read."""
    weights = relax.const(np.eye(SIZE, k=1, dtype="float32") / SIZE)
    new = emit(op.add(op.matmul(states[0], weights), xs[0]))
    return [new, new]


def product_numpy(xs, states):
    new = states[0] @ (np.eye(SIZE, k=1, dtype="float32") / SIZE) + xs[0]
    return [new, new]


CASES = {
    "accumulate": (accumulate, accumulate_numpy, 1),
    "swapped": (swapped, swapped_numpy, 2),
    "rotated": (rotated, rotated_numpy, 3),
    "unchanged": (unchanged, unchanged_numpy, 2),
    "old state is the output": (old_state_is_the_output, old_state_is_the_output_numpy, 1),
    "delay line": (delay_line, delay_line_numpy, 2),
    "read after": (read_after, read_after_numpy, 1),
    "both states one value": (both_states_one_value, both_states_one_value_numpy, 2),
    "constant state": (constant_state, constant_state_numpy, 1),
    "next input": (next_input, next_input_numpy, 1),
    "shift register": (shift_register, shift_register_numpy, 1),
    "joined state": (joined_state, joined_state_numpy, 1),
    "reshaped state": (reshaped_state, reshaped_state_numpy, 1),
    "product": (product, product_numpy, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_recurrence(case, scan_module, run_module):
    step, step_numpy, states = CASES[case]
    x, *initial = drawn((STEPS, *ROW), *[ROW] * states)
    mod = scan_module(step, STEPS, [ROW], [ROW] * states)
    inputs = {"x0": x, **{f"s{k}": value for k, value in enumerate(initial)}}
    found = run_module(mod, inputs)
    for value, expected in zip(found, run_numpy(step_numpy, [x], initial), strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=2e-6)


MATRIX = np.random.default_rng(1).uniform(-1, 1, (SIZE, SIZE)).astype("float32") / SIZE
# What a drawn step may do with two earlier values, in Relax and in numpy.
MOVES = {
    "mean": (
        lambda emit, a, b: op.multiply(op.add(a, b), relax.const(0.5)),
        lambda a, b: (a + b) * np.float32(0.5),
    ),
    "tanh": (lambda emit, a, b: op.tanh(a), lambda a, b: np.tanh(a)),
    "matmul": (lambda emit, a, b: op.matmul(a, relax.const(MATRIX)), lambda a, b: a @ MATRIX),
    "shift": (
        lambda emit, a, b: op.strided_slice(emit(op.concat([a, b], 1)), [1], [2], [2 + SIZE]),
        lambda a, b: np.concatenate([a, b], axis=1)[:, 2 : 2 + SIZE],
    ),
    "cut": (
        lambda emit, a, b: op.concat(
            [op.strided_slice(a, [1], [0], [3]), op.strided_slice(b, [1], [3], [SIZE])], 1
        ),
        lambda a, b: np.concatenate([a[:, :3], b[:, 3:]], axis=1),
    ),
}
places = st.integers(0, 99)
moves = st.lists(st.tuples(st.sampled_from(sorted(MOVES)), places, places), max_size=6)


def drawn_step(moves, results, apply):
    """A step of ``moves`` on earlier values, that returns the values at ``results``."""

    def step(emit, xs, states):
        values = [*states, *xs]
        for name, a, b in moves:
            values.append(apply(name, emit, values[a % len(values)], values[b % len(values)]))
        # Later values are the more interesting ones.
        return [values[-1 - place % len(values)] for place in results]

    return step


def reads_all(moves, states, results):
    """Whether a step's results depend on all its parameters, as those of a recurrence do."""
    one_operand = ("tanh", "matmul")
    read = drawn_step(moves, results, lambda name, _, a, b: a if name in one_operand else a | b)
    names = [{k} for k in range(states + 1)]
    return set().union(*read(None, names[states:], names[:states])) == set(range(states + 1))


@settings(deadline=None, max_examples=25)
@given(moves, st.integers(1, 3), st.integers(0, 2), st.lists(places, min_size=5, max_size=5))
def test_drawn_recurrence(scan_module, run_module, moves, states, outputs, places):
    results = places[: states + outputs]
    step = drawn_step(moves, results, lambda name, emit, a, b: emit(MOVES[name][0](emit, a, b)))
    same = drawn_step(moves, results, lambda name, emit, a, b: MOVES[name][1](a, b))
    x, *initial = drawn((STEPS, *ROW), *[ROW] * states)
    inputs = {"x0": x, **{f"s{k}": value for k, value in enumerate(initial)}}
    assume(reads_all(moves, states, results))
    found = run_module(scan_module(step, STEPS, [ROW], [ROW] * states), inputs)
    expected = run_numpy(lambda xs, ss: same(None, xs, ss), [x], initial)
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=0, atol=5e-6)


def test_a_state_that_only_its_new_value_reads_stays_in_place(scan_module):
    program = program_of(scan_module(accumulate, STEPS, [ROW], [ROW]))
    (loop,) = [s for s in program.body if isinstance(s, Loop)]
    call, row = loop.body
    assert call.inputs[0].location() == call.results[0].location()
    # The one copy in the loop is that of the output's row.
    assert isinstance(row, Copy) and row.target.stride == SIZE * 4


def test_sequence_that_is_not_returned_is_not_stored(scan_module):
    def step(emit, xs, states):
        return [emit(op.add(states[0], xs[0]))]

    program = program_of(scan_module(step, STEPS, [ROW], [ROW]))
    (loop,) = [s for s in program.body if isinstance(s, Loop)]
    assert not any(isinstance(statement, Copy) for statement in loop.body)
    assert program.outputs[0].shape == ROW


def test_given_states_are_copied_once_and_zeros_are_set(scan_module):
    given = program_of(scan_module(accumulate, STEPS, [ROW], [ROW]))
    (copy,) = [s for s in given.body if not isinstance(s, Loop)]
    assert isinstance(copy, Copy) and copy.source.buffer.name == "s0"

    mod = scan_module(accumulate, STEPS, [ROW], [ROW])
    zero = relax.const(np.zeros(ROW, "float32"))
    from_zero = program_of(relax.transform.BindParams("main", {"s0": zero})(mod))
    assert [type(s) for s in from_zero.body] == [Zero, Loop]


def straight(build, *shapes):
    """A module whose main is ``build(emit, *inputs)``."""
    builder = relax.BlockBuilder()
    inputs = [
        relax.Var(f"x{k}", relax.TensorType(shape, "float32")) for k, shape in enumerate(shapes)
    ]
    with builder.function("main", inputs):
        with builder.dataflow():
            result = builder.emit_output(relax.Tuple(build(builder.emit, *inputs)))
        builder.emit_func_output(result)
    return builder.get()


def test_outputs_that_are_one_value(run_module):
    def build(emit, x):
        y = emit(op.tanh(x))
        return [y, y, emit(op.reshape(y, (2, 3)))]

    (x,) = drawn((6,))
    found = run_module(straight(build, (6,)), {"x0": x})
    for value in found:
        np.testing.assert_allclose(value.ravel(), np.tanh(x), atol=5e-7)
    assert [value.shape for value in found] == [(6,), (6,), (2, 3)]


def test_output_that_is_an_input_and_one_that_is_a_constant(run_module):
    fixed = np.array([1.5, -0.0, 3e-42, 7.0], "float32")

    def build(emit, x):
        return [x, relax.const(fixed), emit(op.strided_slice(x, [0], [1], [3]))]

    (x,) = drawn((4,))
    found = run_module(straight(build, (4,)), {"x0": x})
    np.testing.assert_array_equal(found[0], x)
    np.testing.assert_array_equal(found[1].view("int32"), fixed.view("int32"))
    np.testing.assert_array_equal(found[2], x[1:3])


def test_parts_of_a_join_are_computed_in_place():
    def build(emit, x, y):
        parts = [emit(op.tanh(x)), emit(op.multiply(y, y))]
        return [emit(op.concat(parts, axis=0))]

    program = program_of(straight(build, (3,), (5,)))
    first, second = (call.results[0] for call, _ in program.flat())
    assert first.location() == (program.outputs[0], 0)
    assert second.location() == (program.outputs[0], 12)


def test_joins_of_joins_and_of_one_value_twice(run_module):
    def build(emit, x, y):
        a = emit(op.tanh(x))
        inner = emit(op.concat([a, y, a], axis=0))
        outer = emit(op.concat([inner, a, inner], axis=0))
        parts = emit(op.split(outer, [4, 9], axis=0))
        return [outer, inner, emit(op.add(emit(parts[0]), emit(parts[0]))), emit(parts[2])]

    x, y = drawn((3,), (4,))
    found = run_module(straight(build, (3,), (4,)), {"x0": x, "x1": y})
    a = np.tanh(x)
    inner = np.concatenate([a, y, a])
    outer = np.concatenate([inner, a, inner])
    expected = [outer, inner, 2 * outer[:4], outer[9:]]
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-6)


def test_constants_are_stored_once(model_of):
    weights = relax.const(np.linspace(-1, 1, 36, dtype="float32").reshape(6, 6))

    def build(emit, x, y):
        return [emit(op.matmul(x, weights)), emit(op.matmul(y, weights))]

    assert model_of(straight(build, (1, 6), (1, 6))).constants_bytes == 144


def test_two_scans_one_after_the_other(run_module, scan_module):
    def again(emit, fields, inputs):
        (step,) = (gv for gv in emit.__self__.get().get_global_vars() if gv.name_hint == "step")
        second = emit(scan.scan(step, [fields[0]], [inputs[1]]))
        return [emit(second[0]), emit(second[1]), fields[1]]

    mod = scan_module(accumulate, STEPS, [ROW], [ROW], again)
    x, initial = drawn((STEPS, *ROW), ROW)
    found = run_module(mod, {"x0": x, "s0": initial})
    y, last = run_numpy(accumulate_numpy, [x], [initial])
    expected = [*run_numpy(accumulate_numpy, [y], [initial]), last]
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-5)


def test_an_operator_without_c_is_named():
    def build(emit, x):
        return [emit(op.sort(x))]

    with pytest.raises(ModelError, match="sort"):
        program_of(straight(build, (4,)))
