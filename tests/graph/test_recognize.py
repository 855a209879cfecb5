"""Kronecker structure in constant weights: found where it is, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_kp.graph import RecognizeKronecker, decisions, recognize

op = relax.op
SIZES = st.integers(2, 5)


def kron(random, factors, blocks=1):
    (m1, n1), (m2, n2) = factors
    parts = [
        np.kron(random.normal(size=(m1, n1)), random.normal(size=(m2, n2))) for _ in range(blocks)
    ]
    return np.concatenate(parts).astype("float32")


def dense(random, rows, columns):
    return random.normal(size=(rows, columns)).astype("float32")


def product(emit, x, w, transposed=False):
    if transposed:
        return emit(op.matmul(x, emit(op.permute_dims(relax.const(w)))))
    return emit(op.matmul(x, relax.const(np.ascontiguousarray(w.T))))


def alone(module_of, w, transposed=False):
    return module_of(lambda e, x: product(e, x, w, transposed), x=(1, w.shape[1]))


def joined(module_of, w_x, w_h):
    return module_of(
        lambda e, x, h: e(op.add(product(e, x, w_x), product(e, h, w_h))),
        x=(1, w_x.shape[1]),
        h=(1, w_h.shape[1]),
    )


@settings(max_examples=40, deadline=None)
@given(
    factors=st.tuples(st.tuples(SIZES, SIZES), st.tuples(SIZES, SIZES)),
    blocks=st.sampled_from([1, 2, 3, 4]),
    transposed=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_a_product_alone(module_of, factors, blocks, transposed, seed):
    w = kron(np.random.default_rng(seed), factors, blocks)
    (found,) = recognize(alone(module_of, w, transposed))
    assert found.structure in ("kronecker", "dense")
    assert found.shape == w.shape and found.macs_before == w.size
    (m1, n1), (m2, n2) = factors
    cost = min(m1 * n1 * n2 + m1 * m2 * n2, m2 * n2 * n1 + m1 * m2 * n1) * blocks
    assert found.macs_after <= min(cost, w.size)
    if found.structure == "kronecker":
        assert found.error < 1e-6 and found.bytes_after < found.bytes_before


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(2, 48), columns=st.integers(2, 48), seed=st.integers(0, 2**16))
def test_random_weights_stay_dense(module_of, rows, columns, seed):
    (found,) = recognize(alone(module_of, dense(np.random.default_rng(seed), rows, columns)))
    assert found.structure == "dense" and found.reason
    assert found.macs_after == found.macs_before == rows * columns


@pytest.mark.parametrize("noise", [1e-3, 1e-5])
def test_noise_is_not_exact(module_of, noise):
    random = np.random.default_rng(1)
    w = kron(random, ((3, 4), (5, 4)), 4)
    noisy = (w * (1 + noise * random.normal(size=w.shape))).astype("float32")
    (found,) = recognize(alone(module_of, noisy))
    assert (found.structure, found.reason) == ("dense", "no structure exactly")
    (allowed,) = recognize(alone(module_of, noisy), tolerance=2 * noise)
    assert allowed.structure == "kronecker" and 0.1 * noise < allowed.error < 2 * noise


def test_structure_that_does_not_pay(module_of):
    w = kron(np.random.default_rng(2), ((2, 1), (1, 2)))
    (found,) = recognize(alone(module_of, w))
    assert found.structure == "dense" and "would not pay" in found.reason


@pytest.mark.parametrize("rows, structure", [(16, "dense"), (12, "hybrid")])
def test_dense_rows_that_leave_too_little(module_of, rows, structure):
    """Rows below them are products: 4 of 20 save less than a tenth of the MACs, 8 save more."""
    random = np.random.default_rng(4)
    below = kron(random, (((20 - rows) // 2, 6), (2, 4)))
    (found,) = recognize(alone(module_of, np.concatenate([dense(random, rows, 24), below])))
    assert found.structure == structure
    assert "below" in found.reason
    saved = 1 - found.macs_after / found.macs_before
    assert saved == 0 if structure == "dense" else saved > 0.1


def test_zeros_of_a_pruned_matrix_are_no_structure(module_of):
    """Rows with one entry left, in the same column, are a product below dense rows."""
    random = np.random.default_rng(5)
    w = dense(random, 64, 48) * (random.random((64, 48)) < 0.05)
    w[-2:] = 0
    w[-2:, 7] = 1, 2
    (found,) = recognize(alone(module_of, w.astype("float32")))
    assert found.structure == "dense" and "would not pay" in found.reason


@settings(max_examples=20, deadline=None)
@given(inputs=st.integers(1, 7), seed=st.integers(0, 2**16))
def test_joint_weights(module_of, inputs, seed):
    w = kron(np.random.default_rng(seed), ((2, 4), (3, 2)), 4)
    (found,) = recognize(joined(module_of, w[:, :inputs], w[:, inputs:]))
    assert found.structure == "kronecker joint"
    assert (found.shape, found.blocks) == (w.shape, 4)


def test_joint_where_that_saves_bytes_alone(module_of):
    """A's columns of x and of h are multiplied after B: as many MACs apart, but with B twice."""
    w = kron(np.random.default_rng(0), ((16, 5), (6, 8)))
    (found,) = recognize(joined(module_of, w[:, :16], w[:, 16:]))
    apart = [recognize(alone(module_of, part))[0] for part in (w[:, :16], w[:, 16:])]
    assert found.structure == "kronecker joint"
    assert found.macs_after == sum(one.macs_after for one in apart)
    assert found.bytes_after == 4 * (16 * 5 + 6 * 8) < sum(one.bytes_after for one in apart)


def test_weights_apart_and_half_dense(module_of):
    random = np.random.default_rng(3)
    w_x, w_h = kron(random, ((2, 3), (4, 2)), 4), kron(random, ((4, 2), (2, 4)), 4)
    apart = recognize(joined(module_of, w_x, w_h))
    assert [d.structure for d in apart] == ["kronecker", "kronecker"]
    half = recognize(joined(module_of, w_x, dense(random, 32, 8)))
    assert [d.structure for d in half] == ["kronecker", "dense"]


def gated(module_of, w, split):
    """x·W_xᵀ + σ(r)∘(h·W_hᵀ + 1), as in the candidate gate of PyTorch's GRU."""

    def body(emit, x, h, r):
        from_x, from_h = product(emit, x, w[:, :split]), product(emit, h, w[:, split:])
        shifted = emit(op.add(from_h, relax.const(np.ones((1, len(w)), "float32"))))
        return emit(op.add(from_x, emit(op.multiply(emit(op.sigmoid(r)), shifted))))

    return module_of(body, x=(1, split), h=(1, w.shape[1] - split), r=(1, len(w)))


@settings(max_examples=20, deadline=None)
@given(split=st.integers(1, 23), blocks=st.sampled_from([1, 3]), seed=st.integers(0, 2**16))
def test_parts_of_a_joint_weight(module_of, split, blocks, seed):
    w = kron(np.random.default_rng(seed), ((4, 6), (5, 4)), blocks)
    found = recognize(gated(module_of, w, split))
    assert [d.shape for d in found] == [(20 * blocks, split), (20 * blocks, 24 - split)]
    in_x, in_h = -(-split // 4), 6 - split // 4
    cost = sum(min(4 * n * 4 + 4 * 5 * 4, 5 * 4 * n + 4 * 5 * n) for n in (in_x, in_h)) * blocks
    assert sum(d.macs_after for d in found) <= cost
    if split % 4 and 4 < split < 20:
        assert {d.structure for d in found} == {"kronecker parts"}
        assert [d.factors for d in found] == [((4, in_x), (5, 4)), ((4, in_h), (5, 4))]


def test_parts_of_a_dense_weight_stay_dense(module_of):
    found = recognize(gated(module_of, dense(np.random.default_rng(5), 20, 24), 10))
    assert [d.structure for d in found] == ["dense", "dense"]


def test_a_product_that_is_read_twice_is_not_joined(module_of):
    w = kron(np.random.default_rng(4), ((2, 4), (3, 2)), 4)

    def body(emit, x, h):
        left, right = product(emit, x, w[:, :3]), product(emit, h, w[:, 3:])
        return emit(relax.Tuple([emit(op.add(left, right)), left]))

    found = recognize(module_of(body, x=(1, 3), h=(1, 5)))
    assert [d.structure for d in found] == ["kronecker parts", "kronecker parts"]


def test_what_is_no_product_with_a_constant(module_of):
    def body(emit, x, w):
        return emit(
            op.add(
                emit(op.matmul(x, w)),
                emit(op.matmul(w, relax.const(np.ones((2, 4, 4), "float32")))),
            )
        )

    assert recognize(module_of(body, x=(4, 4), w=(4, 4))) == ()


def test_an_identity_permutation_is_no_transpose(module_of):
    w = kron(np.random.default_rng(5), ((2, 3), (4, 2)))

    def body(emit, x):
        return emit(op.matmul(x, emit(op.permute_dims(relax.const(w), [0, 1]))))

    (found,) = recognize(module_of(body, x=(1, 8)))
    assert (found.shape, found.structure) == ((6, 8), "kronecker")


def test_names_that_occur_twice_are_told_apart():
    random = np.random.default_rng(6)
    x = relax.Var("x", relax.TensorType((1, 8), "float32"))
    weights = kron(random, ((2, 2), (4, 4))), dense(random, 8, 8)
    block, source = [], x
    for w in weights:
        value = relax.BlockBuilder().normalize(op.matmul(source, relax.const(w.T.copy())))
        source = relax.Var("y", value.ty)
        block.append(relax.VarBinding(source, value))
    function = relax.Function([x], relax.SeqExpr([relax.BindingBlock(block)], source), source.ty)
    found = recognize(tvm.IRModule({"main": function}))
    assert [(d.operator, d.structure) for d in found] == [("y", "kronecker"), ("y#2", "dense")]


def test_attribute_is_written_and_read(module_of):
    mod = alone(module_of, kron(np.random.default_rng(7), ((2, 3), (4, 2))))
    recorded = RecognizeKronecker()(mod)
    assert decisions(mod) == ()
    assert decisions(recorded) == recognize(mod)
    (left,) = decisions(recorded, kept=False)
    assert (left.structure, left.macs_after) == ("dense", left.macs_before)
    survived = relax.transform.CanonicalizeBindings()(relax.transform.FoldConstant()(recorded))
    assert decisions(survived) == decisions(recorded)


def test_other_types_are_left(module_of):
    w = relax.const(np.ones((4, 4), "float16"))
    mod = module_of(lambda e, x: e(op.matmul(e(op.astype(x, "float16")), w)), x=(1, 4))
    (found,) = recognize(mod)
    assert (found.structure, found.reason) == ("dense", "float16 weights are left as they are")
