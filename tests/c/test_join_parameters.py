"""Parameters that are parts of one tensor become one, in kernels and their calls."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import tirx
from tvm.script import tirx as T

from tvm_kp.c.functions import FunctionPrinter
from tvm_kp.c.join_parameters import Joined, join, join_parameters, kept_parameters
from tvm_kp.c.program import Buffer, Call, Loop, Program, View

N = 6


@T.prim_func
def mixed(
    a: T.Buffer((2, 3), "int16"),
    w: T.Buffer((N,), "int16"),
    b: T.Buffer((N,), "int16"),
    c: T.Buffer((N,), "int16"),
    out: T.Buffer((N,), "int16"),
) -> None:
    flat = T.decl_buffer((N,), "int16", data=a.data)
    for i in range(N):
        out[i] = flat[i] - w[i] * b[i] + c[i] * T.int16(3)


GATES = Buffer("gates", (4 * N,), "int16")
STATE = Buffer("state", (N,), "int16", carried=True)
WEIGHTS = Buffer("weights", (N,), "int16", kind="constant", value=np.arange(N, dtype="int16"))
OTHER = Buffer("other", (4 * N,), "int16")


def view(buffer: Buffer, first: int = 0, stride: int = 0) -> View:
    return View(buffer, (N,), "int16", 2 * first, 2 * stride)


def call(*inputs: View, result: View | None = None) -> Call:
    return Call("mixed", inputs, (result or view(STATE),))


def program(*calls: Call) -> Program:
    return Program((), (), (Loop(3, calls),))


def joined_of(*calls: Call) -> tuple[Joined, ...]:
    return join_parameters(program(*calls), {"mixed": mixed})[2]["mixed"]


def test_parts_of_one_tensor_are_one_parameter() -> None:
    one = call(view(GATES, 6), view(WEIGHTS), view(GATES, 0), view(GATES, 18))
    short, kernels, found = join_parameters(program(one), {"mixed": mixed})
    assert found["mixed"] == (Joined((0, 2, 3), (6, 0, 18), 24),)
    (loop,) = short.body
    assert isinstance(loop, Loop) and loop.steps == 3
    (left,) = loop.body
    assert left.inputs == (View(GATES, (24,), "int16"), view(WEIGHTS))
    text = "\n".join(FunctionPrinter(kernels["mixed"]).body())
    assert "a[i + 6]" in text and "a[i]" in text and "a[i + 18]" in text
    assert [param.name for param in kernels["mixed"].params] == ["a", "w", "out"]


def test_what_is_computed_in_place_is_one_parameter() -> None:
    one = call(view(GATES), view(WEIGHTS), view(STATE), view(OTHER))
    short, kernels, found = join_parameters(program(one), {"mixed": mixed})
    assert found["mixed"] == (Joined((4, 2), (0, 0), N),)
    assert short.body[0].body[0].inputs == (view(GATES), view(WEIGHTS), view(OTHER))
    assert [param.name for param in kernels["mixed"].params] == ["a", "w", "c", "out"]
    assert "b[" not in "\n".join(FunctionPrinter(kernels["mixed"]).body())


@pytest.mark.parametrize(
    "calls",
    [
        [call(view(GATES), view(WEIGHTS), view(OTHER), view(OTHER, 6), result=view(OTHER, 3))],
        [
            call(view(GATES, 0), view(WEIGHTS), view(GATES, 6), view(OTHER)),
            call(view(GATES, 0), view(WEIGHTS), view(GATES, 12), view(OTHER)),
        ],
        [
            call(view(GATES, 0), view(WEIGHTS), view(GATES, 6), view(STATE, 0)),
            call(view(GATES, 0), view(WEIGHTS), view(OTHER, 6), view(OTHER)),
        ],
        [call(view(GATES, 0), view(WEIGHTS), view(GATES, 6, stride=6), view(OTHER))],
    ],
    ids=["written between", "other distances", "other tensors", "other strides"],
)
def test_others_stay_apart(calls: list[Call]) -> None:
    assert joined_of(*calls) == ()


def test_all_calls_move_alike() -> None:
    calls = [
        call(view(GATES, k), view(WEIGHTS), view(GATES, 12 + k), view(OTHER)) for k in range(3)
    ]
    assert joined_of(*calls) == (Joined((0, 2), (0, 12), 18),)


@settings(max_examples=8)
@given(st.permutations(range(4)), st.integers(0, 2**32 - 1))
def test_results_are_the_same(order: list[int], seed: int) -> None:
    """In place or not, whichever parts of a tensor the operands are."""
    starts = tuple(N * place for place in order[:3])
    joined = (Joined((0, 2, 3), starts, 4 * N),)
    whole, w = np.random.default_rng(seed).integers(-99, 99, (2, 4 * N)).astype("int16")
    parts = [whole[start : start + N] for start in starts]
    expected, found = np.zeros((2, N), "int16")
    _built(mixed)(parts[0].reshape(2, 3), w[:N], parts[1], parts[2], expected)
    _built(join(mixed, joined))(whole, w[:N], found)
    np.testing.assert_array_equal(found, expected)
    state = parts[1].copy()
    _built(join(mixed, (Joined((4, 2), (0, 0), N),)))(
        parts[0].reshape(2, 3), w[:N], parts[2], state
    )
    np.testing.assert_array_equal(state, expected)


def _built(function: tirx.PrimFunc):
    module = tvm.compile(tvm.IRModule({"main": function}), target="llvm")

    def run(*arrays: np.ndarray) -> None:
        tensors = [tvm.runtime.tensor(array) for array in arrays]
        module["main"](*tensors)
        arrays[-1][:] = tensors[-1].numpy()

    return run


def test_kept_parameters() -> None:
    assert kept_parameters(5, (Joined((0, 2), (0, 1), 2),)) == [0, 1, 3, 4]
    assert kept_parameters(5, (Joined((4, 2), (0, 0), 2), Joined((1, 3), (0, 0), 2))) == [0, 1, 4]
