from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import tvm_kp
from tvm_kp.artifacts import Operator
from tvm_kp.board import CallOutput
from tvm_kp.errors import FitError

CELL = "tvmgen_default_cell"
# The third call goes wrong, and all that comes of it.
WRONG = """
#ifdef __arm__
  static int calls;
  if (++calls == 3) out1[2] += 0.25f;
#endif
}
"""


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = torch.nn.LSTM(2, 3, batch_first=True), torch.nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@pytest.fixture
def wrong_on_boards(tmp_path):
    model = tvm_kp.compile(Net(), "host", example_inputs=(torch.zeros(1, 5, 2),)).model
    text, count = re.subn(
        rf"(void {CELL}\([^)]*\) {{\n.*?\n)}}\n",
        lambda found: found[1] + WRONG,
        model.sources["default_lib1.c"],
        flags=re.DOTALL,
    )
    assert count == 1
    path = tmp_path / "net.tar"
    sources = {**model.sources, "default_lib1.c": text}
    tvm_kp.export_library([replace(model, sources=sources)], path)
    return path


def test_the_first_operator_that_differs(tvm_kp_main, wrong_on_boards, tmp_path):
    page, board = tmp_path / "r.html", "mps2-an386"
    answer = tvm_kp_main("run", wrong_on_boards, "--target", board, "--check", "--report", page)
    assert answer.code == 0, answer.err
    told = f"First operator that differs: {CELL}, call 3 of 5 in inference 0, output 1 at 2: "
    values = re.search(rf"{told}(\S+) on {board}, (\S+) here", " ".join(answer.out.split()))
    assert values, answer.out
    assert float(values[1]) == pytest.approx(float(values[2]) + 0.25)
    assert told in page.read_text()
    answer = tvm_kp_main("run", wrong_on_boards, "--target", "host", "--check")
    assert "No output differs: integers are equal, floats within 1e-05" in answer.out


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "m.tar"
    path.write_bytes(b"archive")
    return path


@pytest.fixture
def check(tvm_kp_main, driver, archive, tmp_path):
    """``check(flags…)``: what is told of three inferences, of which outputs differ in the last.

    Inputs count the inferences; on a board an operator gives one more than its input.
    """
    x = np.broadcast_to(np.arange(3, dtype="float32").reshape(3, 1, 1, 1), (3, 1, 25, 10))
    np.savez(tmp_path / "x.npz", x=x, word=np.zeros((3, 2), "int32"))
    outputs = np.zeros((2, 3, 1, 12), "float32")
    outputs[0, 2] = 1

    def run(model, target, inputs, **settings):
        return replace(driver.result, outputs={"output": outputs[int(target.name == "host")]})

    def trace(model, target, inputs, timeout_s):
        wrong = 0 if target == "host" else 1
        return [CallOutput("head", 0, one.reshape(-1)[:1] + wrong) for one in inputs["x"]]

    driver.run, driver.trace = run, trace

    def call(*flags):
        answer = tvm_kp_main("run", archive, "-i", tmp_path / "x.npz", "--check", *flags)
        assert answer.code == 0, answer.err
        return " ".join(answer.out.split()).partition("output 1 0 ")[2]

    return call


def test_only_the_inference_that_differs_is_traced(check):
    told = "head, call 1 of 1 in inference 2, output 0 at 0: 3 on mps2-an386, 2 here"
    assert check() == f"First operator that differs: {told}"


def test_a_stream_is_traced_from_its_start(check, compiled, driver):
    driver.load = lambda path: replace(compiled.model, state_bytes=8)
    assert "in inference 0, output 0 at 0: 1 on mps2-an386, 0 here" in check()


def test_nothing_is_told_of_operators_that_do_not_correspond(check, compiled, driver, archive):
    reference = ("--reference", archive)
    assert "call 1 of 1" in check(*reference)
    others = replace(compiled.model, operators=(Operator("other"),))
    models = iter([compiled.model, others])
    driver.load = lambda path: next(models)
    assert check(*reference) == ""
    driver.load = lambda path: compiled.model
    driver.trace = lambda model, target, inputs, timeout_s: [
        CallOutput("head", 0, np.zeros(1 if target == "host" else 2))
    ]
    assert check(*reference) == ""


def test_differences_without_an_operator(check, driver):
    driver.trace = lambda *_, **settings: []
    assert check() == "Outputs differ, but no operator does beyond the tolerance."

    def fail(*_, **settings):
        raise FitError("flash lacks 8 bytes")

    driver.trace = fail
    assert check() == "Which operator differs first is not known: flash lacks 8 bytes"


def test_attached_boards_are_not_traced(check):
    told = "Outputs alone are compared: nucleo-f446re is attached, so not traced."
    assert check("--target", "nucleo-f446re") == told
