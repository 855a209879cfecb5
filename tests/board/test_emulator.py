from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tvm_kp import board
from tvm_kp.artifacts import Model
from tvm_kp.errors import MissingToolError, RunError
from tvm_kp.target import Target, names

BOARDS = [name for name in names() if Target.load(name).runner.kind == "qemu"]
each_board = pytest.mark.parametrize("name", BOARDS)
Arrays = dict[str, np.ndarray]


def turns(count: int) -> str:
    """A loop of two instructions a turn, whatever the compiler thinks."""
    return f'__asm volatile("ldr r3, ={count}\\n1: subs r3, #1\\nbne 1b" ::: "r3", "cc");'


@each_board
def test_outputs_and_repeatable_counts(
    name: str, make_model: Callable[..., Model], inputs: Arrays, expected: Arrays
) -> None:
    target = Target.load(name)
    first, second = (board.run(make_model(), target, inputs) for _ in range(2))
    for key, value in expected.items():
        np.testing.assert_array_equal(first.outputs[key], value)
        assert first.outputs[key].dtype == value.dtype
    assert first.instructions == second.instructions
    assert len(first.instructions) == 3 and min(first.instructions) > 20
    assert first.seconds == () and first.operators == ()


@each_board
def test_equal_inferences_count_equal(
    name: str, make_model: Callable[..., Model], inputs: Arrays
) -> None:
    same = {key: np.repeat(value[:1], 20, axis=0) for key, value in inputs.items()}
    assert len(set(board.run(make_model(), Target.load(name), same).instructions)) == 1


@each_board
def test_known_code_counts_as_much(
    name: str, make_model: Callable[..., Model], inputs: Arrays
) -> None:
    target = Target.load(name)
    plain, nops = (board.run(make_model(b), target, inputs) for b in ("plain", "nops"))
    assert [n - p for n, p in zip(nops.instructions, plain.instructions, strict=True)] == [1000] * 3


@each_board
def test_counts_beyond_the_counter(
    name: str, make_model: Callable[..., Model], inputs: Arrays
) -> None:
    one = {key: value[:1] for key, value in inputs.items()}
    target, millions = Target.load(name), 17_000_000
    short, long = (board.run(make_model(turns(n)), target, one) for n in (5000, 5000 + millions))
    # The counter wraps about every 5 million instructions.
    assert long.instructions[0] - short.instructions[0] == 2 * millions


@each_board
def test_operators(name: str, make_model: Callable[..., Model], inputs: Arrays) -> None:
    target = Target.load(name)
    plain = board.run(make_model("nops"), target, inputs)
    profiled = board.run(make_model("nops"), target, inputs, profile=True)
    assert profiled.instructions == plain.instructions
    scale, count = profiled.operators
    assert (scale.name, scale.calls) == ("tvmgen_hand_fused_scale", 2)
    assert (count.name, count.calls) == ("tvmgen_hand_fused_count", 1)
    assert 1000 < count.count < 1020
    total = float(np.median(plain.instructions))
    # What is left is main's own: it passes arguments and looks at the result.
    assert total - 40 <= scale.count + count.count <= total


@each_board
def test_operators_beyond_the_counter(
    name: str, make_model: Callable[..., Model], inputs: Arrays
) -> None:
    one = {key: value[:1] for key, value in inputs.items()}
    found = board.run(make_model(turns(8_000_000)), Target.load(name), one, profile=True)
    assert 0 <= found.operators[1].count - 16_000_000 < 20


@each_board
def test_fault_shows_its_registers(
    name: str, make_model: Callable[..., Model], inputs: Arrays
) -> None:
    with pytest.raises(RunError) as error:
        board.run(make_model("fault"), Target.load(name), inputs)
    text = str(error.value)
    assert f"{name} faulted in tvmgen_hand_fused_count: data access to 0x24000000" in text
    assert re.search(r"CFSR=0x00008200 HFSR=0x4\w+ MMFAR=0x\w+ BFAR=0x24000000 PC=0x\w+ LR=", text)


@each_board
def test_running_out_of_stack_is_a_fault(
    name: str, make_model: Callable[..., Model], inputs: Arrays
) -> None:
    with pytest.raises(RunError, match="faulted: out of stack"):
        board.run(make_model("overflow"), Target.load(name), inputs)


@each_board
def test_undefined_instruction(name: str, make_model: Callable[..., Model], inputs: Arrays) -> None:
    with pytest.raises(RunError, match="tvmgen_hand_fused_count: undefined instruction"):
        board.run(make_model('__asm volatile("udf #0");'), Target.load(name), inputs)


def test_time_out(make_model: Callable[..., Model], inputs: Arrays) -> None:
    begin = time.monotonic()
    with pytest.raises(RunError, match="mps2-an386 was stopped after 1 s"):
        board.run(make_model("hang"), Target.load("mps2-an386"), inputs, timeout_s=1)
    assert time.monotonic() - begin < 10


def test_a_model_that_says_it_failed(make_model: Callable[..., Model], inputs: Arrays) -> None:
    inputs["steps"][1] = -7
    with pytest.raises(RunError, match="model hand answered -1 to inference 1"):
        board.run(make_model(), Target.load("mps2-an386"), inputs)


@pytest.mark.parametrize("constants", [200_000, 400_000, 2_000_000])
def test_large_constants_on_an547(
    constants: int, make_model: Callable[..., Model], inputs: Arrays
) -> None:
    inputs["steps"] = np.array([[0], [constants // 4 - 2], [0]])
    found = board.run(make_model(constants=constants), Target.load("mps3-an547"), inputs)
    # more[1] is 2, the last of more is 0.
    assert [float(row[0, 0]) for row in found.outputs["output0"]] == [2.0, 16.0, 34.0]


def test_many_inferences_in_one_start(make_model: Callable[..., Model]) -> None:
    x = np.random.default_rng(0).standard_normal((1000, 4), np.float32)
    steps = np.arange(1000)
    found = board.run(make_model(), Target.load("mps2-an386"), {"x": x, "steps": steps})
    np.testing.assert_array_equal(found.outputs["output1"][:, 0], steps + 1)
    assert found.outputs["output0"].shape == (1000, 1, 4)
    assert len(found.instructions) == 1000


def test_missing_emulator(
    make_model: Callable[..., Model],
    inputs: Arrays,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    compiler = shutil.which("arm-none-eabi-gcc")
    assert compiler
    (tmp_path / "arm-none-eabi-gcc").symlink_to(compiler)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="sudo apt-get install qemu-system-arm"):
        board.run(make_model(), Target.load("mps2-an386"), inputs)
