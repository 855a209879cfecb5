from __future__ import annotations

import os
import re
import signal
import subprocess
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tvm_kp
from tvm_kp import board
from tvm_kp.artifacts import Model, OperatorCount, TensorSpec
from tvm_kp.board.layout import HOST_DRIVEN
from tvm_kp.board.project import Project, create
from tvm_kp.board.session import Session, connect
from tvm_kp.board.transport import Transport
from tvm_kp.errors import InputError, RunError, TargetError
from tvm_kp.target import Target, names

BOARDS = [name for name in names() if Target.load(name).runner.kind == "qemu"]
HOST, M4 = Target.load("host"), Target.load("mps2-an386")
Arrays = dict[str, np.ndarray]
Make = Callable[..., Project]

STREAM_HEADER = """\
#include <stdint.h>
struct tvmgen_sum_inputs { void *x; };
struct tvmgen_sum_outputs { void *output; };
struct tvmgen_sum_state { float total[300]; };
int32_t tvmgen_sum_step(struct tvmgen_sum_inputs *inputs, struct tvmgen_sum_outputs *outputs,
                        struct tvmgen_sum_state *state);
int32_t tvmgen_sum_reset(struct tvmgen_sum_state *state);
"""
STREAM_SOURCE = """\
#include "tvmgen_sum.h"
int32_t tvmgen_sum_step(struct tvmgen_sum_inputs *inputs, struct tvmgen_sum_outputs *outputs,
                        struct tvmgen_sum_state *state) {
  for (int32_t i = 0; i < 300; ++i) {
    state->total[i] += ((const float *)inputs->x)[i];
    ((float *)outputs->output)[i] = state->total[i];
  }
  return 0;
}
int32_t tvmgen_sum_reset(struct tvmgen_sum_state *state) {
  for (int32_t i = 0; i < 300; ++i) state->total[i] = 0.0f;
  return 0;
}
"""
# Adds up its inputs, which are larger than a message.
STREAM = Model(
    name="sum",
    target="any",
    inputs=(TensorSpec("x", (1, 300), "float32"),),
    outputs=(TensorSpec("output", (1, 300), "float32"),),
    header=STREAM_HEADER,
    sources={"sum_lib0.c": STREAM_SOURCE},
    operators=(),
    workspace_bytes=0,
    constants_bytes=0,
    state_bytes=1200,
)


@pytest.fixture
def make(make_model: Callable[..., Model], tmp_path: Path) -> Make:
    """``make(body, target)``: a host-driven project of the model with that body."""

    def make(body: str = "plain", target: Target = HOST) -> Project:
        return create(make_model(body), target, tmp_path / f"p-{body[:5]}", kind=HOST_DRIVEN)

    return make


@pytest.fixture
def one(inputs: Arrays) -> Arrays:
    """One inference."""
    return {name: array[0] for name, array in inputs.items()}


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return create(STREAM, HOST, tmp_path_factory.mktemp("stream") / "p", kind=HOST_DRIVEN)


@contextmanager
def kept(project: Project) -> Iterator[Transport]:
    """A line to the firmware of ``project`` that sessions leave open."""
    line = connect(project)
    close, line.close = line.close, lambda: None  # type: ignore[method-assign]
    try:
        yield line
    finally:
        close()


@pytest.mark.parametrize("name", BOARDS)
def test_runs_as_a_batch_does(
    name: str, make_model: Callable[..., Model], make: Make, inputs: Arrays
) -> None:
    profile = name == M4.name  # one board is enough to see that operators come through
    project = make("nops", Target.load(name))
    batch = board.run(make_model("nops"), Target.load(name), inputs, profile=profile, repeat=2)
    found = project.run(inputs, profile=profile, repeat=2)
    for key, value in batch.outputs.items():
        np.testing.assert_array_equal(found.outputs[key], value)
        assert found.outputs[key].dtype == value.dtype
    assert found.instructions == batch.instructions
    assert found.operators == batch.operators


def test_host_takes_seconds(make: Make, inputs: Arrays, expected: Arrays) -> None:
    found = make().run(inputs, repeat=2, profile=True)
    np.testing.assert_array_equal(found.outputs["output0"], expected["output0"])
    assert len(found.seconds) == 6 and all(0 < s < 1 for s in found.seconds)
    assert found.instructions == () and found.operators == ()


def test_steps_of_a_session(make: Make, inputs: Arrays, expected: Arrays) -> None:
    with tvm_kp.Session(make(target=M4).directory) as session:
        for index in range(3):
            session.set_input("steps", inputs["steps"][index])
            session.set_input("x", inputs["x"][index])
            count = session.run()
            np.testing.assert_array_equal(session.get_output("output1"), expected["output1"][index])
        assert session.unit == "instructions" and session.measure(3) == (count,) * 3
        assert session.outputs().keys() == expected.keys()
        stack = session.memory()
    assert stack is not None and stack.size == 1 << 16 and 64 < stack.used < 1024


def test_the_mark_of_the_stack_rises(make: Make, one: Arrays) -> None:
    body = "volatile char room[5000]; for (int i = 0; i < 5000; ++i) room[i] = 1; (void)room[0];"
    with Session(make(body, M4)) as session:
        before = session.memory()
        session.step(**one)
        after = session.memory()
    assert before is not None and after is not None
    assert before.used < 1024 and 5000 <= after.used < 6500


def test_operators_of_the_last_run(make: Make, one: Arrays) -> None:
    with Session(make("nops", M4), profile=True) as session:
        session.step(**one)
        scale, count = first = session.profile()
        assert session.run() == scale.count + count.count
        assert session.profile() == first
    assert scale == OperatorCount("tvmgen_hand_fused_scale", 2, scale.count)
    assert count.name == "tvmgen_hand_fused_count" and 1000 < count.count < 1020


def test_state_stays_and_is_reset(stream: Project) -> None:
    x = np.random.default_rng(0).standard_normal((4, 1, 300), np.float32)
    with Session(stream) as session:
        for step in range(4):
            found = session.step(x=x[step])["output"]
            np.testing.assert_array_equal(found, np.add.reduce(x[: step + 1], dtype=np.float32))
        session.reset_state()
        np.testing.assert_array_equal(session.step(x=x[3])["output"], x[3])
        assert session.memory() is None and session.unit == "nanoseconds"


def test_a_new_session_on_the_same_firmware_begins_anew(stream: Project) -> None:
    x = np.ones((1, 300), np.float32)
    with kept(stream) as line:
        for _ in range(2):
            with Session(stream, transport=line) as session:
                np.testing.assert_array_equal(session.step(x=x)["output"], x)


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda s, x: s.set_input("y", x), "there is no input 'y'"),
        (lambda s, x: s.set_input("x", x[0]), r"found shape \(4,\)"),
        (lambda s, x: s.set_input("x", np.stack([x, x])), "has 2 inferences"),
        (lambda s, x: s.step(x=x), "'steps' was not set in this session"),
        (lambda s, x: s.get_output("y"), "there is no output 'y'; the model has output0, output1"),
        (lambda s, x: s.profile(), "profile=True"),
    ],
)
def test_user_errors_leave_the_session(
    do: Callable[[Session, np.ndarray], object], message: str, make: Make, one: Arrays
) -> None:
    with Session(make()) as session:
        with pytest.raises(InputError, match=message):
            do(session, one["x"])
        assert session.step(**one)["output1"] == one["steps"] + 1


def test_a_model_that_says_it_failed_leaves_the_session(make: Make, one: Arrays) -> None:
    with Session(make()) as session:
        session.step(**one)
        with pytest.raises(RunError, match="model hand answered -1 to inference 1"):
            session.step(x=one["x"], steps=np.array([-7]))
        assert session.step(**one)["output1"] == one["steps"] + 1


@pytest.mark.parametrize("body", ["fault", "overflow"])
def test_a_fault_is_told_as_of_a_batch(
    body: str, make: Make, make_model: Callable[..., Model], inputs: Arrays
) -> None:
    with pytest.raises(RunError) as batch:
        board.run(make_model(body), M4, inputs)
    with pytest.raises(RunError) as driven:
        make(body, M4).run(inputs)
    # Only where code and stack are differs.
    texts = [re.sub(r"(MMFAR|PC|LR)=\w+", "", str(e.value)) for e in (batch, driven)]
    assert texts[0] == texts[1] and "\n" not in texts[0]


def test_after_a_fault_the_board_starts_anew(make: Make, one: Arrays) -> None:
    project = make("if (*steps == 9) *(volatile uint32_t*)(uintptr_t)0x24000000u = 1u;", M4)
    with kept(project) as line:
        with Session(project, transport=line) as session:
            with pytest.raises(RunError, match="data access to 0x24000000"):
                session.step(x=one["x"], steps=np.array([9]))
            with pytest.raises(RunError, match="the session is over"):
                session.run()
        with Session(project, transport=line) as session:
            assert session.step(**one)["output1"] == one["steps"] + 1


def test_a_crash_of_the_host_firmware_is_told(make: Make, one: Arrays) -> None:
    with (
        Session(make("__builtin_trap();")) as session,
        pytest.raises(RunError, match="the firmware on host ended by SIGILL"),
    ):
        session.step(**one)


@pytest.mark.parametrize("target", [HOST, M4], ids=lambda target: target.name)
def test_a_model_that_hangs(target: Target, make: Make, one: Arrays) -> None:
    with (
        Session(make("hang", target), timeout_s=0.5) as session,
        pytest.raises(RunError, match=rf"{target.name} did not answer within 0\.5 s"),
    ):
        session.step(**one)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("target", [HOST, M4], ids=lambda target: target.name)
def test_closing_ends_the_child(
    target: Target, make: Make, one: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    real = subprocess.Popen

    def start(*args: object, **settings: object) -> subprocess.Popen[bytes]:
        process = real(*args, **settings)  # type: ignore[call-overload]
        started.append(process.pid)
        return process  # type: ignore[no-any-return]

    project = make(target=target)
    project.image()
    monkeypatch.setattr(subprocess, "Popen", start)
    with Session(project):
        assert alive(started[-1])
    with pytest.raises(KeyboardInterrupt), Session(project) as session:
        session.step(**one)
        raise KeyboardInterrupt
    with pytest.raises(RunError, match="another model"):
        Session(replace(project, identity=bytes(8))).__enter__()
    assert len(started) == 3 and not any(map(alive, started))


@pytest.mark.parametrize("target", [HOST, M4], ids=lambda target: target.name)
def test_unplugged_in_mid_transfer(target: Target, tmp_path: Path) -> None:
    project = create(STREAM, target, tmp_path / "p", kind=HOST_DRIVEN)
    x = np.ones((1, 300), np.float32)
    line = connect(project)
    write, writes = line.write, 0

    def pull(data: bytes) -> None:
        nonlocal writes
        writes += 1
        # The second piece of the input.
        write(data[: len(data) // 2] if writes == 4 else data)
        if writes == 4:
            os.kill(line._process.pid, signal.SIGKILL)  # type: ignore[attr-defined]

    line.write = pull  # type: ignore[method-assign]
    with Session(project, transport=line) as session, pytest.raises(RunError) as error:
        session.step(x=x)
    assert "ended" in str(error.value) and "\n" not in str(error.value)
    with Session(project) as session:
        np.testing.assert_array_equal(session.step(x=x)["output"], x)


@pytest.fixture
def port(make: Make) -> Iterator[tuple[Project, str, subprocess.Popen[bytes]]]:
    """A project, and a serial port at whose other end its firmware is."""
    project = make()
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    with subprocess.Popen([project.image()], stdin=ours, stdout=ours) as process:
        os.close(ours)
        yield project, os.ttyname(theirs), process
        process.kill()
    os.close(theirs)


def test_a_serial_port(port: tuple[Project, str, subprocess.Popen[bytes]], one: Arrays) -> None:
    project, name, process = port
    for _ in range(2):
        with Session(project, transport=name) as session:
            assert session.step(**one)["output1"] == one["steps"] + 1
    with Session(project, transport=name, timeout_s=5) as session:
        process.kill()
        process.wait()
        with pytest.raises(RunError, match=f"the line to {name} broke"):
            session.step(**one)


def test_no_port(make: Make) -> None:
    with (
        pytest.raises(RunError, match="cannot open /dev/ttyNONE"),
        Session(make(), transport="/dev/ttyNONE"),
    ):
        pass


def test_a_changed_source_is_built(make: Make, one: Arrays) -> None:
    project = make()
    source = project.directory / "model" / "hand_lib1.c"
    for added in (1, 2):
        source.write_text(source.read_text().replace("*steps + 1", f"*steps + {added}"))
        with Session(project) as session:
            assert session.step(**one)["output1"] == one["steps"] + added


def test_a_batch_project_is_refused(make_model: Callable[..., Model], tmp_path: Path) -> None:
    project = create(make_model(), HOST, tmp_path / "p")
    with pytest.raises(TargetError, match=r"is a batch project.*project_type=host_driven"):
        Session(project)
    with pytest.raises(TargetError, match=r"has no \[uart\]"):
        create(make_model(), replace(M4, uart=None), tmp_path / "q", kind=HOST_DRIVEN)
    with pytest.raises(InputError, match="no project_type 'x'; there are host_driven, batch"):
        create(make_model(), HOST, tmp_path / "q", kind="x")
    assert not (tmp_path / "q").exists()
