from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tvm_kp.board import Trial, TrialRun, compile_trial, run_trials
from tvm_kp.errors import BuildError, FitError
from tvm_kp.target import Target, names

each_board = pytest.mark.parametrize(
    "name", [name for name in names() if Target.load(name).runner.kind == "qemu"]
)
M4 = "mps2-an386"
MILLION = 1_000_000
Make = Callable[..., Trial]

COUNT_UP = "for (int i = 0; i < 8; ++i) memory[i] = (unsigned char)(memory[i] + 1);"
FOR_EVER = 'for (;;) __asm volatile("");'
# Bodies of kernels, and what is said of them; {} is the kernel.
FAULTS = {
    "address": ("*(volatile unsigned *)0x24000000u = 1u;", "{}: data access to 0x24000000"),
    "instruction": ('__asm volatile("udf #0");', "{}: undefined instruction"),
    "frame": ("volatile char room[1 << 17]; room[0] = 1; (void)room[0];", "out of stack"),
    "recursion": ('__asm volatile("1: push {r0-r7}; b 1b");', "out of stack"),
    "code": ('__asm volatile("mov r2, #0x100; str r2, [r2]" ::: "r2");', "access to 0x00000100"),
    "behind": ("memory[32] = 1;", "{}: data access to 0x2"),
    "below": ("*(volatile unsigned char *)(memory - 100000) = 1;", "{}: data access to 0x2"),
    "system": ("*(volatile unsigned *)0xE000E010u = 0u;", "faulted in {}"),
    "exit": ('__asm volatile("mov r0, #0x18; bkpt 0xab" ::: "r0");', "faulted in {}"),
    "data": ("((void (*)(void))(memory + 1))();", "jump to where there is no code"),
    "variables": (
        "extern volatile unsigned __bss_start[]; for (unsigned i = 0;; ++i) __bss_start[i] = 7u;",
        "{}: data access to 0x2",
    ),
}


def turns(count: int) -> str:
    """A loop of two instructions a turn."""
    return f'__asm volatile("ldr r3, ={count}; 1: subs r3, #1; bne 1b" ::: "r3", "cc");'


def source(symbol: str, body: str) -> str:
    return (
        f"void {symbol}(unsigned char *memory);\n"
        f"void {symbol}(unsigned char *memory) {{ (void)memory; {body} }}\n"
    )


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a trial of ``body``, called with each of ``memories`` (default: 0 to 7, twice)."""

    def make_one(
        symbol: str,
        body: str,
        on: str | Target = M4,
        memories: tuple[np.ndarray, ...] | None = None,
    ) -> Trial:
        target = Target.load(on) if isinstance(on, str) else on
        made = compile_trial(source(symbol, body), symbol, target, tmp_path)
        return Trial(symbol, made, memories or (np.arange(8, dtype=np.uint8),) * 2)

    return make_one


def values(runs: tuple[TrialRun, ...]) -> list[list[int]]:
    return [run.memory.tolist() for run in runs]


@each_board
def test_memories_and_counts(name: str, make: Make) -> None:
    target = Target.load(name)
    starts = tuple(np.arange(n, n + 8, dtype=np.uint8) for n in (0, 100, 200))
    trials = [
        make("up", COUNT_UP, name, starts),
        make("nothing", "", name),
        make("nops", '__asm volatile(".rept 1000; nop; .endr");', name),
        make("last", "memory[199999] = memory[0];", name, (np.full(200_000, 9, np.uint8),)),
        make("up_again", COUNT_UP, name, starts),
    ]
    first, second = (run_trials(trials, target, limit=MILLION) for _ in range(2))
    for result, again, trial in zip(first, second, trials, strict=True):
        assert (result.failure, result.message) == ("", "")
        assert len(result.runs) == len(trial.memories)
        assert len({run.instructions for run in (*result.runs, *again.runs)}) == 1
        assert values(result.runs) == values(again.runs)
    up, nothing, nops, last, up_again = first
    assert values(up.runs) == [[*range(n + 1, n + 9)] for n in (0, 100, 200)]
    assert [run.instructions for run in up.runs] == [run.instructions for run in up_again.runs]
    # The call and the return.
    assert nothing.runs[0].instructions == 2
    assert nops.runs[0].instructions == 1002
    assert last.runs[0].memory.shape == (200_000,) and last.runs[0].memory.dtype == np.uint8


@each_board
def test_counts_beyond_the_counter(name: str, make: Make) -> None:
    trials = [make(f"t{n}", turns(5000 + n), name) for n in (0, 9 * MILLION)]
    short, long = run_trials(trials, Target.load(name), limit=100 * MILLION)
    assert long.runs[1].instructions - short.runs[1].instructions == 18 * MILLION


def check_failures(target: Target, make: Make, unit: str) -> None:
    bodies = {"first": COUNT_UP, "hang": FOR_EVER, "hang_without_interrupts": FOR_EVER}
    bodies["hang_without_interrupts"] = f'__asm volatile("cpsid i"); {FOR_EVER}'
    bodies |= {f"t_{key}": body for key, (body, _) in FAULTS.items()}
    bodies["last"] = COUNT_UP
    trials = [make(symbol, body, target) for symbol, body in bodies.items()]
    results = dict(zip(bodies, run_trials(trials, target, limit=MILLION), strict=True))
    for symbol in ("first", "last"):
        assert results[symbol].failure == ""
        assert values(results[symbol].runs) == [[*range(1, 9)]] * 2
    for symbol in ("hang", "hang_without_interrupts"):
        result = results[symbol]
        assert (result.runs, result.failure) == ((), "hang")
        assert result.message == f"a call takes 1000000 {unit} or more"
    for key, (_, words) in FAULTS.items():
        result = results[f"t_{key}"]
        assert (result.runs, result.failure) == ((), "fault"), key
        assert words.format(f"t_{key}") in result.message


@each_board
def test_failures_stop_nobody_else(name: str, make: Make) -> None:
    check_failures(Target.load(name), make, "instructions")


def test_failures_on_an_attached_board(attached_board: Target, make: Make) -> None:
    check_failures(attached_board, make, "cycles")


def test_a_failure_keeps_what_came_before(make: Make) -> None:
    memories = tuple(np.full(8, n, np.uint8) for n in (0, 1, 2, 3))
    body = f'memory[1] = 7; if (memory[0] == 2) __asm volatile("udf #0"); {COUNT_UP}'
    (result,) = run_trials([make("third", body, M4, memories)], Target.load(M4), limit=MILLION)
    assert result.failure == "fault" and "faulted in third" in result.message
    assert [run.memory[:2].tolist() for run in result.runs] == [[1, 8], [2, 8]]


def test_the_limit_is_exact(make: Make) -> None:
    trials = [make(f"t{n}", turns(n)) for n in (1000, 2000)]
    counts = [r.runs[0].instructions for r in run_trials(trials, Target.load(M4), limit=MILLION)]
    results = run_trials(trials, Target.load(M4), limit=counts[1])
    assert [r.failure for r in results] == ["", "hang"]
    assert run_trials(trials[1:], Target.load(M4), limit=counts[1] + 1)[0].failure == ""


def test_time_out(make: Make) -> None:
    begin = time.monotonic()
    trials = [make("up", COUNT_UP), make("hang", FOR_EVER), make("up_again", COUNT_UP)]
    results = run_trials(trials, Target.load(M4), limit=10**12, timeout_s=2)
    assert [r.failure for r in results] == ["", "hang", ""]
    assert results[1].message == f"{M4} was stopped after 2 s without a result"
    assert time.monotonic() - begin < 20


def test_the_time_out_is_for_one_call(make: Make) -> None:
    """All together take longer: each of 40 runs 20 million instructions."""
    trial = make("lengthy", turns(10 * MILLION), M4, (np.zeros(8, np.uint8),) * 40)
    (result,) = run_trials([trial], Target.load(M4), limit=100 * MILLION, timeout_s=1)
    assert (result.failure, len(result.runs)) == ("", 40)


def test_writing_beside_the_own_data_is_seen(make: Make) -> None:
    trial = make("beside", "memory[8] = 1; memory[15] = 2;", M4, (np.zeros(16, np.uint8),))
    (result,) = run_trials([trial], Target.load(M4), limit=MILLION)
    assert values(result.runs) == [[0] * 8 + [1] + [0] * 6 + [2]]


@each_board
def test_variables_are_new_for_each_call(name: str, make: Make) -> None:
    body = (
        "static volatile unsigned char zero, five = 5;"
        "memory[0] = ++zero; memory[1] = ++five;"
        'static volatile unsigned char kept __attribute__((section(".bss.noinit.kept")));'
        "memory[3] = ++kept;"
        "static volatile float big = 1000.0f; memory[2] = __builtin_expf(big) > big;"
    )
    (result,) = run_trials([make("counter", body, name)], Target.load(name), limit=MILLION)
    assert values(result.runs) == [[1, 6, 1, 1, 4, 5, 6, 7]] * 2


def test_one_kernel_in_several_trials(make: Make) -> None:
    trial = make("up", COUNT_UP)
    results = run_trials([trial, trial], Target.load(M4), limit=MILLION)
    assert [values(r.runs) for r in results] == [[[*range(1, 9)]] * 2] * 2


def test_no_trials() -> None:
    assert run_trials([], Target.load(M4), limit=MILLION) == []
    assert run_trials([], Target.load("pico"), limit=MILLION) == [], "nothing is flashed for it"


@pytest.mark.parametrize("body", ["int unused;", "memory[0] = 1 +;", "nobody(memory);"])
def test_c_that_does_not_compile(body: str, make: Make) -> None:
    with pytest.raises(BuildError, match=r"refused bad\.c: .*error"):
        make("bad", body)


def test_symbols_that_nobody_defines(make: Make) -> None:
    trial = make("calls", "extern void nobody(void); nobody();")
    with pytest.raises(BuildError, match="undefined reference to `nobody'"):
        run_trials([trial], Target.load(M4), limit=MILLION)


@each_board
def test_memory_up_to_what_there_is(name: str, make: Make) -> None:
    target = Target.load(name)
    room = target.memories["ram"].length * 7 // 8
    most = np.arange(room, dtype=np.uint8)
    trial = make("up", f"memory[0] = 3; memory[{room - 1}] = 4;", name, (most,))
    (result,) = run_trials([trial], target, limit=MILLION)
    assert result.failure == ""
    np.testing.assert_array_equal(result.runs[0].memory, [3, *most[1:-1], 4])
    more = make("up", "", name, (np.zeros(room + 1, np.uint8),))
    with pytest.raises(FitError, match=f"needs {room + 1} bytes of memory, {name} has room for"):
        run_trials([more], target, limit=MILLION)


def test_code_that_only_fits_in_several_images(make: Make) -> None:
    """Four of 192 KB in 512 KB of flash."""
    name = "mps3-an547"
    body = f'{COUNT_UP} __asm volatile(".rept 98304; nop; .endr");'
    trials = [make(f"t{n}", body, name) for n in range(4)]
    results = run_trials(trials, Target.load(name), limit=MILLION)
    assert [values(r.runs) for r in results] == [[[*range(1, 9)]] * 2] * 4


def test_many_trials_in_one_image(make: Make) -> None:
    memories = tuple(np.full(1000, n, np.uint8) for n in (1, 2, 3))
    trials = [make(f"t{n}", f"memory[{n}] = {n};", M4, memories) for n in range(64)]
    results = run_trials(trials, Target.load(M4), limit=MILLION)
    assert [r.runs[2].memory[n] for n, r in enumerate(results)] == [*range(64)]
