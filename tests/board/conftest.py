"""A model written by hand as the compiler writes them, for everything that consumes one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tvm_kp.artifacts import Model, Operator, TensorSpec

HEADER = """\
#ifndef TVMGEN_HAND_H
#define TVMGEN_HAND_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#define TVMGEN_HAND_X_SIZE 16
#define TVMGEN_HAND_STEPS_SIZE 8
#define TVMGEN_HAND_OUTPUT0_SIZE 16
#define TVMGEN_HAND_OUTPUT1_SIZE 8
#define TVMGEN_HAND_WORKSPACE_SIZE 16
#define TVMGEN_HAND_OPERATOR_COUNT 2
struct tvmgen_hand_inputs {
  void* x;
  void* steps;
};
struct tvmgen_hand_outputs {
  void* output0;
  void* output1;
};
int32_t tvmgen_hand_run(struct tvmgen_hand_inputs* inputs, struct tvmgen_hand_outputs* outputs);
#ifdef __cplusplus
}
#endif
#endif
"""

ENTRY = """\
#include "tvmgen_hand.h"

static const float weights[4] = {2.0f, 3.0f, 5.0f, 7.0f};
static float workspace[4] __attribute__((section(".bss.noinit.tvm"), aligned(8)));

void tvmgen_hand_fused_scale(const float* x, const float* w, float* y);
void tvmgen_hand_fused_count(const int64_t* steps, int64_t* total);

#ifdef TVMGEN_PROFILE
void tvmgen_profile_begin(int32_t op);
void tvmgen_profile_end(int32_t op);
#define BEGIN(op) tvmgen_profile_begin(op)
#define END(op) tvmgen_profile_end(op)
#else
#define BEGIN(op)
#define END(op)
#endif
#ifdef TVMGEN_TRACE
void tvmgen_trace(int32_t op, int32_t output, const void* data, int32_t bytes);
#define TRACE(op, data, bytes) tvmgen_trace(op, 0, data, bytes)
#else
#define TRACE(op, data, bytes)
#endif

int32_t tvmgen_hand_run(struct tvmgen_hand_inputs* inputs, struct tvmgen_hand_outputs* outputs) {
  int64_t* const total = (int64_t*)outputs->output1;
  BEGIN(0);
  tvmgen_hand_fused_scale((const float*)inputs->x, weights, workspace);
  END(0);
  TRACE(0, workspace, 16);
  BEGIN(0);
  tvmgen_hand_fused_scale(workspace, weights, (float*)outputs->output0);
  END(0);
  TRACE(0, outputs->output0, 16);
  BEGIN(1);
  tvmgen_hand_fused_count((const int64_t*)inputs->steps, total);
  END(1);
  TRACE(1, total, 8);
  return *total < 0 ? -1 : 0;
}
"""

OPERATORS = """\
#include <stdint.h>

void tvmgen_hand_fused_scale(const float* x, const float* w, float* y);
void tvmgen_hand_fused_count(const int64_t* steps, int64_t* total);

void tvmgen_hand_fused_scale(const float* x, const float* w, float* y) {
  for (int32_t i = 0; i < 4; ++i) y[i] = x[i] * w[i];
}

void tvmgen_hand_fused_count(const int64_t* steps, int64_t* total) {
  @BODY@
  *total = *steps + 1;
}
"""

BODIES = {
    "plain": "",
    "nops": '__asm volatile(".rept 1000\\n\\tnop\\n\\t.endr");',
    # Two instructions a turn.
    "loop": 'for (int32_t i = 0; i < @TURNS@; ++i) __asm volatile("");',
    "fault": "*(volatile uint32_t*)(uintptr_t)0x24000000u = 1u;",
    "overflow": "volatile char room[1 << 17]; room[0] = 1; (void)room[0];",
    "hang": 'for (;;) __asm volatile("");',
    "warning": "int32_t narrow = *steps; (void)narrow;",
}


def hand_model(body: str = "plain", constants: int = 0) -> Model:
    """The model with ``body`` in its second operator and ``constants`` more bytes of weights.

    output0 = x * w * w; output1 = steps + 1, and below 0 that is a failure.
    """
    entry = ENTRY
    if constants:
        more = f"static const float more[{constants // 4}] = {{1.0f, 2.0f}};\n"
        use = "  if (*total > 0) ((float*)outputs->output0)[0] += more[*total];\n  return"
        entry = entry.replace("static float", more + "static float").replace("  return", use)
    return Model(
        name="hand",
        target="any",
        inputs=(TensorSpec("x", (1, 4), "float32"), TensorSpec("steps", (1,), "int64")),
        outputs=(TensorSpec("output0", (1, 4), "float32"), TensorSpec("output1", (1,), "int64")),
        header=HEADER,
        sources={
            "hand_lib0.c": entry,
            "hand_lib1.c": OPERATORS.replace("@BODY@", BODIES.get(body, body)),
        },
        operators=(
            Operator("tvmgen_hand_fused_scale", output_dtypes=("float32",)),
            Operator("tvmgen_hand_fused_count", output_dtypes=("int64",)),
        ),
        workspace_bytes=16,
        constants_bytes=16 + constants,
    )


@pytest.fixture
def make_model() -> Callable[..., Model]:
    return hand_model


@pytest.fixture
def inputs() -> dict[str, np.ndarray]:
    """Three inferences."""
    x = np.arange(12, dtype=np.float32).reshape(3, 1, 4)
    return {"x": x, "steps": np.array([[5], [-1], [1 << 40]], np.int64)}


@pytest.fixture
def expected(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    squares = np.array([4, 9, 25, 49], np.float32)
    return {"output0": inputs["x"] * squares, "output1": inputs["steps"] + 1}
