from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tvm_kp.board import Trial, compile_trial, cycles, run_trials, trace
from tvm_kp.errors import RunError, TargetError
from tvm_kp.target import Target

M3, M4 = "mps2-an385", "mps2-an386"
MILLION = 1_000_000
TURN = "1: subs r1, #1; bne 1b"
CALL_AND_RETURN = 2 * (1 + 2)  # two branches, P = 2
Make = Callable[..., Trial]

# Instructions and their cycles by hand, from the manuals; r0 is the memory, all 0.
SETTLE = "mov r1, r0; mov r2, r0; mov r3, r0; movs r5, #0; nop;"  # 5
COMMON = {
    "nothing": ("", 0),
    "additions": ("adds r1, #1;" * 10, 10),
    # The examples of section 3.3.2.
    "load_load": (SETTLE + "ldr r12, [r1]; ldr r1, [r2]", 5 + 3),
    "load_store": (SETTLE + "ldr r12, [r1, r5]; str r12, [r3, #20]", 5 + 3),
    "load_store_offset": (SETTLE + "ldr r12, [r1, r5]; str r1, [r3, r5]", 5 + 3),
    "load_load_load": (SETTLE + "ldr r12, [r1, r5]; ldr r1, [r2]; ldr r2, [r3, #4]", 5 + 4),
    "chased_pointer": ("ldr r1, [r0]; ldr r2, [r0, r1]", 2 + 2),
    "load_after_store": ("str r0, [r0]; ldr r1, [r0]", 1 + 2),
    "store_with_offset": ("movs r1, #0; nop; str r0, [r0, r1, lsl #2]", 1 + 1 + 2),
    "computed_address": ("adds r1, r0, #4; ldr r2, [r1]", 1 + (1 + 2)),
    "bytes_and_halves": ("ldrb r1, [r0]; ldrsh r2, [r0, #2]; strh r2, [r0]", 2 + 1 + 1),
    "load_multiple": ("ldmia r0, {r1, r2, r3, r12}", 1 + 4),
    "store_multiple": ("stmia r0!, {r1, r2}", 1 + 2),
    "pairs": ("ldrd r2, r3, [r0]; strd r2, r3, [r0]", 3 + 3),
    "stack": ("push {r4, lr}; pop {r4, pc}", 3 + (3 + 3) - 3),  # it does not come to bx
    "loop": (f"movs r1, #10; {TURN}", 1 + 10 * 1 + 9 * (1 + 2) + 1),
    "not_taken": ("cmp r0, #0; beq 1f; nop; 1:", 1 + 1 + 1),
    "compared_and_not_taken": ("cbz r0, 1f; nop; 1:", 1 + 1),
    "taken": ("cmp r0, #0; bne 1f; nop; 1:", 1 + (1 + 2)),
    "table": ("movs r1, #0; nop; tbb [pc, r1]; 1: .byte (2f-1b)/2, 0; 2: nop", 1 + 1 + 6 + 1),
    "conditional": ("cmp r0, #0; it ne; movne r1, #0", 1 + 1 + 1),
    "call": ("mov r1, lr; bl 1f; bx r1; 1: bx lr", 1 + (1 + 2) + (1 + 2)),
    "division": ("movs r1, #7; movs r2, #3; sdiv r1, r1, r2; udiv r1, r1, r2", 2 + 7 + 7),
    "product": ("mul r1, r2, r3;" * 3, 3),
}
BY_CORE = {
    M3: {
        "product_and_sum": ("mla r1, r1, r2, r3; mls r1, r1, r2, r3", 2 + 2),
        "long_products": ("smull r1, r2, r1, r3; umlal r1, r2, r3, r3", 4 + 5.5),
    },
    M4: {
        "product_and_sum": ("mla r1, r1, r2, r3; smull r1, r2, r1, r3", 1 + 1),
        "products_of_halves": (
            "smlad r1, r2, r3, r1; smlald r1, r2, r3, r3; smmulr r1, r2, r3;"
            "smlabb r1, r1, r2, r3; smlawt r1, r1, r2, r3; smuad r1, r2, r3",
            6,
        ),
        "parts_of_words": (
            "sxtb16 r1, r2, ror #8; pkhbt r1, r2, r3, lsl #16; uadd8 r1, r2, r3;"
            "sel r1, r2, r3; ssat r1, #8, r2; qadd r1, r2, r3; usada8 r1, r2, r3, r1",
            7,
        ),
        "float_sums": ("vadd.f32 s0, s1, s2; vsub.f32 s3, s1, s2; vmul.f32 s4, s1, s2", 3),
        "float_addends": ("vfma.f32 s0, s1, s2;" * 8, 8 * 3),
        "float_results": (
            "vfma.f32 s0, s1, s2; vmul.f32 s3, s0, s1; vmla.f32 s3, s4, s5; vstr s3, [r0]",
            (3 + 1) + 1 + (3 + 1) + 1,
        ),
        "float_divisions": ("vdiv.f32 s0, s1, s2; vsqrt.f32 s3, s1", 14 + 14),
        "float_load_multiple": ("vldmia r0, {s0-s7}", 1 + 8),
        "double_load_multiple": ("vldmia r0, {d0-d3}; vpush {d8}; vpop {d8}", 9 + 3 + 3),
        "float_loads": ("".join(f"vldr s{n}, [r0, #{4 * n}];" for n in range(8)), 2 + 7),
        "double_loads": ("vldr d0, [r0]; vldr d1, [r0, #8]; vstr d1, [r0]", 3 + 3 + 3),
        "float_moves": ("vmov r1, s0; vmov s1, s2; vmov.f32 s3, #1.0; vmov d2, r1, r2", 6),
    },
}
# What C makes of the compiler's ways: loops, calls of libraries, tables, floats without an FPU.
C_BODIES = {
    "loops": "for (int i = 0; i < 50; ++i) for (int j = 0; j < i; ++j) memory[i] ^= memory[j];",
    "copies": "__builtin_memcpy(memory + 30, memory, memory[0] + 9u);",
    "exponential": "*(float *)memory = __builtin_expf(*(float *)memory + 0.5f);",
    "square_root": "*(float *)memory = __builtin_sqrtf(*(float *)memory + 2.0f);",
    "doubles": "*(double *)memory = (*(double *)memory + 1.0) / 3.0;",
    "long_long": "*(long long *)memory = (*(long long *)memory + 77) / 5;",
    "branches": (
        "for (int i = 0; i < 9; ++i) switch (memory[i] % 7) { case 0: memory[i] = 5; break;"
        "case 1: memory[i + 1] = 3; break; case 2: __builtin_memset(memory + i, 1, 5); break;"
        "case 3: memory[i] -= 1; break; case 5: memory[i] /= 3; break; default: memory[0]++; }"
    ),
    # More than the 24 bits of the counter: there are interrupts.
    "interrupted": (
        '__asm volatile("mov r3, #15000; 1: .rept 398; nop; .endr; subs r3, #1; bne.w 1b"'
        ' ::: "r3", "cc");'
    ),
}


ZEROS = (np.zeros(80, np.uint8),)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a trial of a body in C."""

    def make_one(
        symbol: str,
        body: str,
        name: str = M4,
        memories: tuple[np.ndarray, ...] = ZEROS,
        attribute: str = "",
    ) -> Trial:
        head = f"{attribute} void {symbol}(unsigned char *memory)"
        text = f"{head};\n{head} {{ (void)memory; {body} }}\n"
        made = compile_trial(text, symbol, Target.load(name), tmp_path)
        return Trial(symbol, made, memories)

    return make_one


@pytest.fixture
def make_naked(make: Make) -> Make:
    """Makes a trial of instructions: these and a return are all there is."""

    def make_one(symbol: str, text: str, *others: object) -> Trial:
        body = f'__asm volatile("{text.rstrip("; ")}; bx lr");'
        return make(symbol, body, *others, attribute="__attribute__((naked))")

    return make_one


def run(trials: list[Trial], name: str = M4) -> list[list[float | None]]:
    """The cycles of every call."""
    results = run_trials(trials, Target.load(name), limit=100 * MILLION, cycles=True)
    return [[run.cycles for run in result.runs] for result in results]


@pytest.mark.parametrize("name", [M3, M4])
def test_cycles_counted_by_hand(name: str, make_naked: Make) -> None:
    cases = COMMON | BY_CORE[name]
    trials = [make_naked(f"t_{key}", text, name) for key, (text, _) in cases.items()]
    found = [cycles - CALL_AND_RETURN for (cycles,) in run(trials, name)]
    assert dict(zip(cases, found, strict=True)) == {key: n for key, (_, n) in cases.items()}


@pytest.mark.parametrize("name", [M3, M4])
def test_every_instruction_of_c_is_traced(name: str, make: Make) -> None:
    """``run_trials`` raises RunError if as many as were counted are not."""
    trials = [make(f"t_{key}", body, name) for key, body in C_BODIES.items()]
    results = run_trials(trials, Target.load(name), limit=100 * MILLION, cycles=True)
    for key, result in zip(C_BODIES, results, strict=True):
        assert result.failure == ""
        assert result.runs[0].instructions < result.runs[0].cycles, key
    assert results[-1].runs[0].instructions > 1 << 22, "the last is to be interrupted"


def test_calls_are_told_apart(make: Make, make_naked: Make) -> None:
    """A loop of as many turns as the memory says, and kernels that fail."""
    loop = f"ldrb r1, [r0]; {TURN}"
    fault = 'if (memory[0] == 5) __asm volatile("udf #0");'
    turns = (3, 5, 3, 200)
    memories = tuple(np.full(8, n, np.uint8) for n in turns)
    trials = [
        make_naked("first", loop, M4, memories),
        make("fault", fault, M4, memories),
        make_naked("hang", "1: b 1b", M4, memories),
        make_naked("last", f"nop; {loop}", M4, memories[::-1]),
    ]
    first, failed, hung, last = run(trials)
    by_hand = [CALL_AND_RETURN + 2 + n + 3 * (n - 1) + 1 for n in turns]
    assert first == by_hand
    assert (failed, hung) == ([None], [])
    assert last == [n + 1 for n in by_hand[::-1]]


def test_only_when_asked_for(make: Make) -> None:
    (result,) = run_trials([make("plain", "")], Target.load(M4), limit=MILLION)
    assert result.runs[0].cycles is None
    assert run_trials([], Target.load(M4), limit=MILLION, cycles=True) == []


def test_a_core_without_published_costs() -> None:
    words = "cycles of mps2-an500 .* a cortex-m7, .* for cortex-m3 and cortex-m4; count instruct"
    with pytest.raises(TargetError, match=words):
        run_trials([], Target.load("mps2-an500"), limit=MILLION, cycles=True)


def test_a_trace_that_is_not_what_was_counted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "instructions", lambda steps: 7)
    monkeypatch.setattr(cycles, "instructions", trace.instructions)
    with pytest.raises(RunError, match="executed other instructions when traced"):
        run([make("plain", "")])


def test_a_block_that_the_counter_stopped() -> None:
    """It is executed in parts, which are blocks of their own."""
    whole, part = "[00/000006b8/00/ff020200]", "[00/000006b8/00/ff020201]"
    log = ["IN: f", "0x000006b8:  b508  push", "0x000006ba:  4770  bx", f"Trace 0: 0x7f {whole} f"]
    log += [f"Trace 0: 0x7f {whole} f", "Stopped execution of TB chain before 0x7f [000006b8] f"]
    log += ["IN: f", "0x000006b8:  b508  push", f"Trace 0: 0x80 {part} f"]
    executed = [block.addresses for block in trace._executed(log)]
    assert executed == [(0x6B8, 0x6BA), (0x6B8,)]


def test_an_emulator_that_lists_no_instructions(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one built without a disassembler."""
    log = ["IN: main", "OBJD-T: 08b5", "", "Trace 0: 0x7f [00/000006b8/00/00] main"]
    monkeypatch.setattr(trace, "_calls", lambda executed, labels: trace._executed(log))
    with pytest.raises(RunError, match="built with capstone"):
        run([make("plain", "")])


def test_many_calls_and_long_ones(make_naked: Make) -> None:
    for count, turns in ((32, 3000), (1, 200_000)):
        trials = [make_naked(f"t{n}", f"ldr r1, ={turns}; {TURN}") for n in range(count)]
        found = run(trials)
        # The number is loaded as a constant if it is too large for an instruction.
        load = 1 if turns < 1 << 16 else 2
        assert found == [[CALL_AND_RETURN + load + turns + 3 * (turns - 1) + 1]] * count
