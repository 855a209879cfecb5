"""A program as TIR: one parameter for every buffer, one call for every statement."""

from __future__ import annotations

from tvm_kp.c.functions import FunctionPrinter
from tvm_kp.c.program import Buffer, Call, Copy, Loop, Program, View, Zero
from tvm_kp.c.tir_main import tir_main


def whole(buffer: Buffer) -> View:
    return View(buffer, buffer.shape, buffer.dtype)


X = Buffer("x", (3, 4), "float32", "input")
Y = Buffer("y", (4,), "float32", "output")
STATE = Buffer("state", (4,), "float32", carried=True)
PART = Buffer("part", (2,), "float32", parent=STATE, offset=8)
ROW = View(X, (4,), "float32", 0, 16)


def lines(program: Program) -> list[str]:
    main = tir_main(program)
    names = dict(zip(main.function.params, (b.name for b in main.buffers), strict=True))
    return [line.strip() for line in FunctionPrinter(main.function, names).body()]


def test_statements() -> None:
    loop = Loop(3, (Call("add", (ROW, whole(STATE)), (whole(STATE),)), Zero(whole(PART))))
    assert lines(Program((X,), (Y,), (Zero(whole(STATE)), loop, Copy(whole(STATE), whole(Y))))) == [
        "memset(&state[0], 0, 16);",
        "for (int32_t t = 0; t < 3; ++t) {",
        "add(&x[t * 4], &state[0], &state[0]);",
        "memset(&state[2], 0, 8);",
        "}",
        "memcpy(&y[0], &state[0], 16);",
    ]


def test_inputs_and_outputs_come_first_and_parts_not_at_all() -> None:
    program = Program((X,), (Y,), (Call("f", (whole(PART), ROW), (whole(Y),)),))
    assert tir_main(program).buffers == (X, Y, STATE)


def test_one_statement() -> None:
    assert lines(Program((X,), (Y,), (Loop(2, (Copy(ROW, whole(Y)),)),))) == [
        "for (int32_t t = 0; t < 2; ++t) {",
        "memcpy(&y[0], &x[t * 4], 16);",
        "}",
    ]
