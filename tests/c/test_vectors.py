"""Expressions over four elements at once -> C of MVE intrinsics."""

from __future__ import annotations

import pytest
from tvm import tirx
from tvm.sym import Analyzer

from tvm_kp.c.expressions import Expressions
from tvm_kp.c.vectors import Vectors, is_vector

ROW, LANE = tirx.Var("i", "int32"), tirx.Var("lane", "int32")
WIDE = tirx.decl_buffer((8,), "int32", "w")
HALF = tirx.decl_buffer((8,), "int16", "h")
BYTE = tirx.decl_buffer((8,), "int8", "b")
FLOAT = tirx.decl_buffer((8,), "float32", "f")
SCALE = tirx.BufferLoad(tirx.decl_buffer((1,), "float32", "s"), [0])
LOCAL = tirx.decl_buffer((1,), "int32", "t")
NUMBER = tirx.BufferLoad(tirx.decl_buffer((1,), "int32", "n"), [0])
PLACE = ROW * 4 + LANE


def at(buffer, index=PLACE):
    return tirx.BufferLoad(buffer, [index])


def widened(buffer):
    return at(buffer).astype("int32")


def multiplied(a, b):
    return tirx.call_intrin("int32", "tirx.kp_multiply_high", a, b)


def saturated(x, bits):
    return tirx.max(tirx.min(x, 2 ** (bits - 1) - 1), -(2 ** (bits - 1)))


def printer(count=4):
    named = (ROW, LANE, WIDE, HALF, BYTE, FLOAT, LOCAL, NUMBER.source, SCALE.source)
    made = Vectors(Expressions({var: var.name for var in named}, Analyzer(), {}), LANE, count)
    made.scalars.add(LOCAL)
    return made


@pytest.fixture
def vectors():
    return printer()


W, H = "vldrwq_s32(&w[i * 4])", "vldrhq_s32(&h[i * 4])"
F = "vldrwq_f32(&f[i * 4])"


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (at(WIDE), W),
        (widened(HALF), H),
        (widened(BYTE), "vldrbq_s32(&b[i * 4])"),
        (at(WIDE, LANE + 3), "vldrwq_s32(&w[3])"),
        (at(LOCAL, 0) + at(WIDE), f"vaddq_s32(t, {W})"),
        (at(WIDE) * NUMBER, f"vmulq_n_s32({W}, n[0])"),
        (NUMBER + at(WIDE), f"vaddq_n_s32({W}, n[0])"),
        (NUMBER - at(WIDE), f"vsubq_s32(vdupq_n_s32(n[0]), {W})"),
        (at(WIDE) - 5, f"vsubq_n_s32({W}, 5)"),
        (at(WIDE) >> 3, f"vshrq_n_s32({W}, 3)"),
        (at(WIDE) & 7, f"vandq_s32({W}, vdupq_n_s32(7))"),
        (tirx.max(at(WIDE), 0), f"vmaxq_s32({W}, vdupq_n_s32(0))"),
        (tirx.min(at(WIDE), NUMBER), f"vminq_s32({W}, vdupq_n_s32(n[0]))"),
        (saturated(at(WIDE), 8), f"kp_saturate8_x4({W})"),
        (saturated(at(WIDE), 16).astype("int16"), f"kp_saturate16_x4({W})"),
        (at(WIDE).astype("int16"), f"vmovlbq_s16(vreinterpretq_s16_s32({W}))"),
        (multiplied(at(WIDE), 508), f"vrmulhq_s32({W}, vdupq_n_s32(508))"),
        (multiplied(at(WIDE), tirx.const(2**29, "int32")), f"vrshrq_n_s32({W}, 3)"),
        (multiplied(at(WIDE), widened(HALF)), f"vrmulhq_s32({W}, {H})"),
        (at(FLOAT) + at(FLOAT), f"vaddq_f32({F}, {F})"),
        (SCALE * at(FLOAT), f"vmulq_n_f32({F}, s[0])"),
        (tirx.const(0.5, "float32") - at(FLOAT), f"vsubq_f32(vdupq_n_f32(0.5f), {F})"),
        (tirx.max(at(FLOAT), SCALE), f"kp_maxf_x4({F}, vdupq_n_f32(s[0]))"),
        (tirx.min(at(FLOAT), SCALE), f"kp_minf_x4({F}, vdupq_n_f32(s[0]))"),
        (tirx.tanh(tirx.sigmoid(at(FLOAT))), f"kp_tanhf_x4(kp_sigmoidf_x4({F}))"),
    ],
    ids=str,
)
def test_texts(vectors, expr, text):
    assert vectors.text(expr) == text


def test_stores_narrow(vectors):
    def store(buffer, value):
        return vectors.store(buffer, PLACE, value)

    assert store(WIDE, at(WIDE)) == f"vstrwq_s32(&w[i * 4], {W})"
    assert store(FLOAT, SCALE) == "vstrwq_f32(&f[i * 4], vdupq_n_f32(s[0]))"
    assert store(HALF, at(WIDE).astype("int16")) == f"vstrhq_s32(&h[i * 4], {W})"
    assert store(WIDE, NUMBER) == "vstrwq_s32(&w[i * 4], vdupq_n_s32(n[0]))"
    byte = saturated(at(WIDE), 8).astype("int8")
    assert store(BYTE, byte) == f"vstrbq_s32(&b[i * 4], kp_narrow8_x4({W}))"
    assert vectors.store(LOCAL, 0, at(WIDE)) == f"t = {W}"
    assert vectors.helpers == {"kp_vectors", "kp_narrow8_x4"}


def test_fewer_floats_than_a_vector_has():
    assert printer(3).store(FLOAT, PLACE, at(FLOAT)) == (
        "kp_storef_x4(&f[i * 4], kp_loadf_x4(&f[i * 4], 3), 3)"
    )
    kinds = {}
    for buffer in (FLOAT, WIDE):
        store = tirx.BufferStore(buffer, at(buffer), [PLACE])
        loops = (tirx.For(LANE, 0, n, tirx.ForKind.VECTORIZED, store) for n in (3, 4))
        kinds[buffer.name] = [*map(is_vector, loops)]
    assert kinds == {"f": [True, True], "w": [False, True]}


@pytest.mark.parametrize("index", [LANE * 2, ROW - LANE], ids=str)
def test_lanes_must_be_neighbors(vectors, index):
    with pytest.raises(AssertionError, match="lanes apart"):
        vectors.text(at(WIDE, index))
